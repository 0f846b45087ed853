// xenpv-doctor: is this Xen guest healthy?
#include <csignal>
#include <string>
#include <utility>
#include <vector>

#include "commands.hpp"
#include "doctor/row_table.hpp"

int main(int argc, char** argv) {
  namespace doctor = xenpv::doctor_app;
  std::signal(SIGPIPE, SIG_IGN);
  static bool json = false;
  xenpv::cli::app app("xenpv-doctor", "is this Xen guest healthy?");
  app.set_exit_statuses(
      {.results = {{doctor::healthy, "All rows are PASS or UNKNOWN. For compare: no row is worse."},
                   {doctor::warned,
                    "The worst row is WARN, or UNKNOWN with --strict. For compare: at least one "
                    "row is worse."},
                   {doctor::failing, "The worst row is FAIL."}},
       .failed = doctor::internal_error,
       .usage = doctor::usage_error});
  std::vector<std::pair<std::string, std::string>> rows;
  for (const auto& row : xenpv::doctor::row_table())
    rows.emplace_back(row.id, row.subject);
  app.root()
      .manual_section("ROWS", std::move(rows))
      .manual_section("ENVIRONMENT",
                      {{"XENPV_ROOT", "Read /proc, /sys and /dev below this directory."}})
      .manual_section("FILES", {{"/proc/interrupts", "Event-channel, timer and IPI counts."},
                                {"/sys/hypervisor", "The guest type and the Xen version."},
                                {"/dev/kmsg", "Kernel boot messages (root)."},
                                {"/dev/xen/xenbus", "xenstore: PV device states (root)."}});
  doctor::set_up_examine(app, json);
  doctor::add_compare(app, json);
  return app.run(argc, argv);
}
