// xenpv-sim: a simulated Xen host on any Linux machine, without root, a hypervisor or a kernel
// module.
#include <csignal>

#include "block_backend.hpp"
#include "commands.hpp"
#include "programs.hpp"
#include "xenpv/base/standard_streams.hpp"

namespace xenpv::apps {

int run_sim(int argc, char** argv) {
  open_standard_streams();
  std::signal(SIGPIPE, SIG_IGN);
  if (argc == 5 && argv[1] == sim_app::serve_disks_argument)
    return sim_app::serve_disks(argv[2], argv[3], argv[4]);
  cli::app app("xenpv-sim", "run Xen guest programs on a simulated Xen host");
  app.root()
      .describe(
          "Starts a simulated Xen host with domain 0 and guest domains, and runs unmodified "
          "programs as processes of a domain. A preloaded library, libxensim.so, gives them "
          "/dev/xen/{evtchn,gntdev,gntalloc,xenbus,privcmd}, /proc/xen and /sys/hypervisor; the "
          "Xen libraries run unmodified on these. Neither root privileges nor a hypervisor or "
          "kernel modules are required.")
      .describe(
          "The simulator reproduces the behaviour of Xen 4.17 (or 4.20, with --xen) and Linux 6.1 "
          "that programs can observe: pending and masked event channels, grant limits, xenstore "
          "permissions and transactions, stale handles after save and restore, and the kernel BUG "
          "caused by closing a stale handle. It can also inject faults (--fault).")
      .describe(
          "A process of domain 0 serves the disks (--disk). It emulates the limits and behaviour "
          "of the real backend that backend= selects.")
      .describe(
          "backend=qemu-real uses QEMU's own block backend instead, as a process of domain 0 for "
          "each guest. It needs file=PATH and Debian's package qemu-system-xen. The toolstack "
          "writes the same nodes as libxl does for QEMU.")
      .describe(
          "backend=exec:COMMAND runs COMMAND (a shell command without commas) in domain 0 for each "
          "disk of each guest: a backend of your own. It must serve the device whose directory "
          "XENPV_SIM_BACKEND names, starting with the state InitWait; see ENVIRONMENT. type=TYPE "
          "selects the device type in the path of that directory (default: vbd), such as qdisk or "
          "vbd3; the type qdisk also gets QEMU's form of the node params. file=PATH is optional.")
      .describe(
          "External backends are started with their guest and killed with it and with the host. "
          "`run` and `start` wait until they have announced their disks. `disk restart` kills a "
          "backend and starts it again; a backend that ends by itself is reported, but not "
          "restarted. A save and restore starts new ones. `status` lists them with their logs.")
      .manual_section(
          "STATICALLY LINKED PROGRAMS",
          {{"--intercept-syscalls",
            "Statically linked programs, such as those of Go, do not load libxensim.so. With this "
            "option of `run` and `exec`, a supervisor process answers the system calls of CMD and "
            "its descendants that concern the files below (seccomp user notification). Programs "
            "that load libxensim.so still use it. Calls that open, stat or access any file take "
            "about 10 us longer; most other calls are as fast as without the option. Set-user-ID "
            "programs run without privileges (no_new_privs). Needs Linux 5.19."},
           {"/dev/xen/evtchn",
            "Complete, but ioctl and write take tens of microseconds. Its descriptor has one of "
            "the highest numbers below the limit (at most 1023), by which the supervisor "
            "recognises writes. On a duplicate with another number, each write can unmask only one "
            "port, and writev does not work."},
           {"/dev/xen/xenbus, /proc/xen, /sys/hypervisor", "Complete."},
           {"/dev/xen/privcmd", "Answers the same hypercalls as libxensim.so."},
           {"/dev/xen/gntdev, /dev/xen/gntalloc",
            "Cannot be opened (ENODEV), because the supervisor cannot map pages in other processes "
            "and does not learn of munmap. Link a program that uses grants dynamically."},
           {"Other limits",
            "A path must be absolute and contain no symbolic link to a device. fstat of an open "
            "device shows a pipe, a socket or a regular file. io_uring and 32-bit system calls "
            "are not intercepted."}})
      .manual_section("ENVIRONMENT",
                      {{"TMPDIR", "Parent directory of the host directory that `run` creates."},
                       {"XDG_RUNTIME_DIR",
                        "Parent directory of the host directory that `start` creates without "
                        "--dir."},
                       {"XENPV_SIM_QEMU",
                        "Path of the QEMU for backend=qemu-real, if it is not in a usual place."},
                       {"XENPV_SIM_BACKEND_LOG",
                        "Directory for the logs of external backends. They are kept there when the "
                        "host stops; by default, they are in the host's directory."},
                       {"XENPV_SIM_DIR, XENSTORED_PATH, LD_PRELOAD, XENPV_ROOT",
                        "Set in the environment of programs that run in a domain. Without --dir, "
                        "xenpv-sim itself addresses the host of XENPV_SIM_DIR there."},
                       {"XENPV_SIM_DOMAIN, XENPV_SIM_DISK, XENPV_SIM_DEVICE",
                        "Set for a command of backend=exec: the guest's domain ID, the disk's name "
                        "(such as xvdb) and its number (such as 51728)."},
                       {"XENPV_SIM_BACKEND, XENPV_SIM_FRONTEND, XENPV_SIM_FILE",
                        "Set for a command of backend=exec: the xenstore paths of the backend and "
                        "frontend directories, and the path in file=PATH (may be empty)."}})
      .manual_section(
          "FILES", {{"/run/user/UID/xenpv-sim, /tmp/xenpv-sim-UID",
                     "The default DIR, with and without XDG_RUNTIME_DIR. One host can run there; "
                     "it must belong to the user."},
                    {"DIR/domN/root", "The /proc, /sys and /dev of domain N."},
                    {"DIR/backend-N-qemu.log, DIR/backend-N-DISK.log",
                     "The output of the external backends of domain N."},
                    {"DIR/host.log",
                     "The log of a host started with `start`, for example of hypercalls that "
                     "are not simulated. `run` logs to stderr."},
                    {"DIR/qmp-N", "The monitor socket (QMP) of the QEMU of domain N."},
                    {"libxensim.so", "The simulated device files, preloaded into programs."}})
      .example("list xenstore from a guest", "xenpv-sim run -- xenstore-ls -f /local/domain/1")
      .example("measure event-channel latency between two domains", "xenpv-sim demo")
      .example("test a frontend with QEMU's block backend",
               "xenpv-sim run --disk xvdb,file=/tmp/disk,backend=qemu-real -- ./my-driver-test")
      .example("start a host for use from several terminals", "xenpv-sim start");
  sim_app::add_run(app);
  sim_app::add_host_commands(app);
  sim_app::add_disk(app);
  sim_app::add_demo(app);
  sim_app::add_ping(app);
  return app.run(argc, argv);
}

}  // namespace xenpv::apps
