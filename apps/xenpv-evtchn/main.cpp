// xenpv-evtchn: the event channels of this guest, from inside.
#include <csignal>

#include "commands.hpp"

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  xenpv::cli::app app("xenpv-evtchn",
                      "see, measure and place the event channels of this Xen guest");
  app.root()
      .describe(
          "Event channels are the interrupts of a Xen guest: its timers, IPIs, PV devices and the "
          "ports of its processes. This program joins what the kernel, xenstore and, where it "
          "answers, the hypervisor say of them, and says of each fact where it comes from.")
      .example("all channels, with their ports and counts", "xenpv-evtchn list")
      .example("rates, live", "xenpv-evtchn watch")
      .example("how long events take from CPU to CPU", "xenpv-evtchn ping")
      .example("the same of somebody else's guest", "xenpv-evtchn list --root unpacked-capture");
  xenpv::evtchn_app::add_list(app);
  xenpv::evtchn_app::add_watch(app);
  xenpv::evtchn_app::add_ping(app);
  xenpv::evtchn_app::add_balance(app);
  xenpv::evtchn_app::add_affinity(app);
  xenpv::evtchn_app::add_capture(app);
  return app.run(argc, argv);
}
