// xenpv-evtchn: the event channels of this guest.
#include <csignal>

#include "commands.hpp"

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  xenpv::cli::app app("xenpv-evtchn",
                      "list, measure and move the event channels of this Xen guest");
  app.root()
      .describe(
          "Event channels are the interrupts of a Xen guest: they signal its timers, IPIs and PV "
          "devices, and processes can bind ports of their own. This program joins the facts from "
          "the kernel, xenstore and, if accessible, the hypervisor, and shows the source of each "
          "fact.")
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
  xenpv::evtchn_app::add_list(app);
  xenpv::evtchn_app::add_watch(app);
  xenpv::evtchn_app::add_ping(app);
  xenpv::evtchn_app::add_balance(app);
  xenpv::evtchn_app::add_affinity(app);
  xenpv::evtchn_app::add_capture(app);
  return app.run(argc, argv);
}
