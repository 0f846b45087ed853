// xenpv-sim: a simulated Xen host on any Linux machine, without root, a hypervisor or a kernel
// module.
#include <csignal>

#include "block_backend.hpp"
#include "commands.hpp"

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  if (argc == 5 && argv[1] == xenpv::sim_app::serve_disks_word)
    return xenpv::sim_app::serve_disks(argv[2], argv[3], argv[4]);
  xenpv::cli::app app("xenpv-sim", "run Xen guest programs on a simulated Xen host");
  app.root()
      .describe(
          "Starts a simulated Xen host with domain 0 and guest domains, and runs programs as "
          "processes of a domain. "
          "They are not changed: libxensim.so is preloaded in place of libxenevtchn and "
          "libxengnttab, and libxenstore "
          "is pointed at the domain's own xenstored. No root, hypervisor or kernel module is "
          "needed.")
      .describe(
          "The simulator follows Xen 4.17 and Linux 6.1 where a program can tell: pending and "
          "masked event channels, "
          "grant limits, xenstore permissions and transactions, save and restore with its stale "
          "handles, and the kernel "
          "BUG that closing one of those is. It also makes things go wrong on demand (--fault).")
      .describe(
          "Disks (--disk) are served by a process of domain 0 that behaves, as told, like Linux "
          "blkback, QEMU, tapdisk or FreeBSD, each with its limits and habits.")
      .example("see what a guest sees of xenstore", "xenpv-sim run -- xenstore-ls")
      .example("measure an event channel between two domains", "xenpv-sim demo")
      .example("keep a host and use it from several terminals", "xenpv-sim start --dir /tmp/host");
  xenpv::sim_app::add_run(app);
  xenpv::sim_app::add_host_commands(app);
  xenpv::sim_app::add_disk(app);
  xenpv::sim_app::add_demo(app);
  xenpv::sim_app::add_ping(app);
  return app.run(argc, argv);
}
