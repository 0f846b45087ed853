// xenpv-doctor: is all well with this Xen guest?
#include <csignal>

#include "commands.hpp"

int main(int argc, char** argv) {
  namespace doctor = xenpv::doctor_app;
  std::signal(SIGPIPE, SIG_IGN);
  static bool json = false;
  xenpv::cli::app app("xenpv-doctor", "is all well with this Xen guest?");
  app.set_exit_statuses(
      {.results =
           {{doctor::all_well, "All rows are PASS or UNKNOWN; of compare: nothing got worse."},
            {doctor::warned,
             "The worst row is WARN, or with --strict UNKNOWN; of compare: something got worse."},
            {doctor::failing, "The worst row is FAIL."}},
       .failed = doctor::went_wrong,
       .usage = doctor::wrong_usage});
  doctor::set_up_examine(app, json);
  doctor::add_compare(app, json);
  return app.run(argc, argv);
}
