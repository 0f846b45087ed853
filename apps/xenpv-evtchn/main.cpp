// xenpv-evtchn: the event channels of this guest.
#include <csignal>

#include "commands.hpp"

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  xenpv::cli::app app("xenpv-evtchn",
                      "list, measure and move the event channels of this Xen guest");
  app.root()
      .describe(
          "Event channels are the interrupts of a Xen guest: its timers, IPIs, PV devices and the "
          "ports of its processes. This program joins the facts from the kernel, xenstore and, if "
          "it answers, the hypervisor, and names the source of each fact.")
      .example("list all channels, with their ports and counts", "xenpv-evtchn list")
      .example("show live rates", "xenpv-evtchn watch")
      .example("measure the time of events from CPU to CPU", "xenpv-evtchn ping")
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
