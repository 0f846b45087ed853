// xenpv-disk: serves a PV disk of this guest over NBD, from user space.
#include <csignal>

#include "commands.hpp"

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  xenpv::cli::app app("xenpv-disk", "serve a PV disk of this Xen guest over NBD");
  app.root()
      .describe(
          "Acts as the block frontend of a disk that the toolstack attached to this guest, in "
          "place of the kernel, and exports it to NBD clients: nbd-client makes it a block device "
          "again, qemu-img and nbdcopy use it directly.")
      .example("list the disks and their drivers", "xenpv-disk list")
      .example("serve a disk that the kernel driver is using", "xenpv-disk serve xvdb --take")
      .example("attach the disk as a block device", "xenpv-disk attach xvdb --take")
      .manual_section(
          "ENVIRONMENT",
          {{"LISTEN_FDS, LISTEN_PID",
            "Listening sockets that a service manager passes to the serve command."},
           {"NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID",
            "Readiness and watchdog notifications to systemd."},
           {"XENPV_CUSTODIAN",
            "Path of xenpv-custodian, the program that is started if the custodian dies. "
            "(Custodian: a helper process that closes the disk after a crash.)"},
           {"XENSTORED_PATH",
            "Path of the xenstored socket to connect to (default: the local one)."},
           {"uri, unixsocket",
            "Set by the run command for CMD, as nbdkit --run does: the address of the disk."}})
      .manual_section(
          "FILES",
          {{"/run/xenpv/DISK.sock", "The NBD socket on which serve listens by default."},
           {"/run/xenpv/DISK.control", "The socket over which status and detach query the server."},
           {"/dev/xen/evtchn, /dev/xen/gntalloc, /dev/xen/xenbus",
            "Event channels, granted pages and xenstore (kernel modules xen-evtchn and "
            "xen-gntalloc)."}})
      .example("copy a disk, then exit", "xenpv-disk run xvdb -- sh -c 'nbdcopy $uri disk.img'");
  xenpv::disk_app::add_list(app);
  xenpv::disk_app::add_serve(app);
  xenpv::disk_app::add_run(app);
  xenpv::disk_app::add_attach(app);
  xenpv::disk_app::add_detach(app);
  xenpv::disk_app::add_status(app);
  xenpv::disk_app::add_bench(app);
  return app.run(argc, argv);
}
