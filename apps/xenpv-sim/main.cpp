// xenpv-sim: a simulated Xen host on any Linux machine, without root, a hypervisor or a kernel
// module.
#include <csignal>

#include "block_backend.hpp"
#include "commands.hpp"

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  if (argc == 5 && argv[1] == xenpv::sim_app::serve_disks_argument)
    return xenpv::sim_app::serve_disks(argv[2], argv[3], argv[4]);
  xenpv::cli::app app("xenpv-sim", "run Xen guest programs on a simulated Xen host");
  app.root()
      .describe(
          "Starts a simulated Xen host with domain 0 and guest domains, and runs unmodified "
          "programs as processes of a domain: libxensim.so is preloaded in place of libxenevtchn "
          "and libxengnttab, and libxenstore connects to the domain's own xenstored. No root, "
          "hypervisor or kernel module is needed.")
      .describe(
          "The simulator follows Xen 4.17 (or 4.20: --xen) and Linux 6.1 in all that a program can "
          "observe: pending "
          "and masked event channels, grant limits, xenstore permissions and transactions, stale "
          "handles after save and restore, and the kernel BUG that closing a stale handle causes. "
          "It also injects faults on demand (--fault).")
      .describe(
          "A process of domain 0 serves the disks (--disk). It emulates the limits and behaviour "
          "of Linux blkback, QEMU, tapdisk or FreeBSD, as selected.")
      .example("list xenstore as a guest sees it", "xenpv-sim run -- xenstore-ls")
      .example("measure an event channel between two domains", "xenpv-sim demo")
      .example("keep a host and use it from several terminals", "xenpv-sim start --dir /tmp/host");
  xenpv::sim_app::add_run(app);
  xenpv::sim_app::add_host_commands(app);
  xenpv::sim_app::add_disk(app);
  xenpv::sim_app::add_demo(app);
  xenpv::sim_app::add_ping(app);
  return app.run(argc, argv);
}
