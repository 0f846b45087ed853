// xenpv-doctor: is this Xen guest healthy?
#include <linux/capability.h>

#include <csignal>
#include <string>
#include <utility>
#include <vector>

#include "commands.hpp"
#include "doctor/row_table.hpp"
#include "programs.hpp"
#include "sandbox/privileges.hpp"
#include "xenpv/base/standard_streams.hpp"

namespace xenpv::apps {

int run_doctor(int argc, char** argv) {
  namespace doctor = doctor_app;
  open_standard_streams();
  std::signal(SIGPIPE, SIG_IGN);
  // In this order: SCHED_FIFO for measurements; other users' descriptors; devices, which belong to
  // root, and output files; the kernel log.
  sandbox::limit_capabilities({CAP_SYS_NICE, CAP_SYS_PTRACE, CAP_DAC_OVERRIDE, CAP_SYSLOG});
  static bool json = false;
  cli::app app("xenpv-doctor", "is this Xen guest healthy?");
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
      .describe(
          "Without root, rows that need the kernel log, xenstore, the devices of Xen or the "
          "processes of other users are UNKNOWN. As root, the program drops all capabilities at "
          "its start but CAP_SYS_NICE, CAP_SYS_PTRACE, CAP_DAC_OVERRIDE and CAP_SYSLOG.")
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

}  // namespace xenpv::apps
