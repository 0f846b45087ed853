// xenpv-evtchn: the event channels of this guest.
#include <linux/capability.h>

#include <csignal>

#include "commands.hpp"
#include "programs.hpp"
#include "sandbox/privileges.hpp"
#include "xenpv/base/standard_streams.hpp"

namespace xenpv::apps {

int run_evtchn(int argc, char** argv) {
  open_standard_streams();
  std::signal(SIGPIPE, SIG_IGN);
  // In this order: SCHED_FIFO for ping; other users' descriptors; devices and affinities, which
  // belong to root, and output files; the kernel log for a capture.
  sandbox::limit_capabilities({CAP_SYS_NICE, CAP_SYS_PTRACE, CAP_DAC_OVERRIDE, CAP_SYSLOG});
  cli::app app("xenpv-evtchn", "list, measure and move the event channels of this Xen guest");
  app.root()
      .describe(
          "Event channels are the interrupts of a Xen guest: they signal its timers, IPIs and PV "
          "devices, and processes can bind ports of their own. This program joins the facts from "
          "the kernel, xenstore and, if accessible, the hypervisor, and shows the source of each "
          "fact.")
      .describe(
          "Without root, ports without an interrupt, xenstore's facts and the processes of other "
          "users are missing, a capture is incomplete, and ping, affinity and balance --apply are "
          "not possible unless the device and IRQ files permit it. As root, the program drops all "
          "capabilities at its start but CAP_SYS_NICE, CAP_SYS_PTRACE, CAP_DAC_OVERRIDE and "
          "CAP_SYSLOG.")
      .manual_section("ENVIRONMENT", {{"XENPV_ROOT", "Read /proc and /sys below this directory."},
                                      {"XENSTORED_PATH",
                                       "Path of the xenstored socket to connect to (default: the "
                                       "local one)."}})
      .manual_section("FILES", {{"/proc/interrupts, /proc/irq",
                                 "Channels with an interrupt, counts, affinities."},
                                {"/dev/xen/evtchn", "The ports that ping binds."},
                                {"/dev/xen/privcmd",
                                 "The hypervisor's port list (root; since XSA-482 "
                                 "only with xen_privcmd.unrestricted=1)."}})
      .example("list all channels, with their ports and counts", "xenpv-evtchn list")
      .example("show live rates", "xenpv-evtchn watch")
      .example("measure event latency between CPUs", "xenpv-evtchn ping")
      .example("list the channels of a captured guest",
               "xenpv-evtchn list --root unpacked-capture");
  evtchn_app::add_list(app);
  evtchn_app::add_watch(app);
  evtchn_app::add_ping(app);
  evtchn_app::add_balance(app);
  evtchn_app::add_affinity(app);
  evtchn_app::add_capture(app);
  return app.run(argc, argv);
}

}  // namespace xenpv::apps
