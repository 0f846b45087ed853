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
          "and libxengnttab, and libxenstore connects to a simulated xenstored. Neither root "
          "privileges nor a hypervisor or kernel modules are required.")
      .describe(
          "The simulator reproduces the behaviour of Xen 4.17 (or 4.20, with --xen) and Linux 6.1 "
          "that programs can observe: pending and masked event channels, grant limits, xenstore "
          "permissions and transactions, stale handles after save and restore, and the kernel BUG "
          "caused by closing a stale handle. It can also inject faults (--fault).")
      .describe(
          "A process of domain 0 serves the disks (--disk). It emulates the limits and behaviour "
          "of Linux blkback, QEMU, tapdisk or FreeBSD, as selected by backend=KIND.")
      .manual_section("ENVIRONMENT",
                      {{"TMPDIR", "Parent directory of the host directory that `run` creates."},
                       {"XENPV_SIM_DIR, XENSTORED_PATH, LD_PRELOAD, XENPV_ROOT",
                        "Set in the environment of programs that run in a domain."}})
      .manual_section("FILES",
                      {{"DIR/domN/root", "The /proc, /sys and /dev of domain N."},
                       {"libxensim.so",
                        "The simulated libxenevtchn and libxengnttab, preloaded into programs."}})
      .example("list xenstore from a guest", "xenpv-sim run -- xenstore-ls /local/domain/1")
      .example("measure event-channel latency between two domains", "xenpv-sim demo")
      .example("start a host for use from several terminals", "xenpv-sim start --dir /tmp/host");
  xenpv::sim_app::add_run(app);
  xenpv::sim_app::add_host_commands(app);
  xenpv::sim_app::add_disk(app);
  xenpv::sim_app::add_demo(app);
  xenpv::sim_app::add_ping(app);
  return app.run(argc, argv);
}
