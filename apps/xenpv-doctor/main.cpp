// xenpv-doctor: is this Xen guest healthy?
#include <csignal>

#include "commands.hpp"

int main(int argc, char** argv) {
  namespace doctor = xenpv::doctor_app;
  std::signal(SIGPIPE, SIG_IGN);
  static bool json = false;
  xenpv::cli::app app("xenpv-doctor", "is this Xen guest healthy?");
  app.set_exit_statuses(
      {.results =
           {{doctor::healthy, "All rows are PASS or UNKNOWN; compare: nothing got worse."},
            {doctor::warned,
             "The worst row is WARN, or UNKNOWN with --strict; compare: something got worse."},
            {doctor::failing, "The worst row is FAIL."}},
       .failed = doctor::internal_error,
       .usage = doctor::usage_error});
  doctor::set_up_examine(app, json);
  doctor::add_compare(app, json);
  return app.run(argc, argv);
}
