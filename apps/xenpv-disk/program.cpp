// xenpv-disk: serves a PV disk of this guest over NBD, from user space.
#include <csignal>

#include "commands.hpp"
#include "programs.hpp"
#include "xenpv/base/standard_streams.hpp"

namespace xenpv::apps {

int run_disk(int argc, char** argv) {
  open_standard_streams();
  std::signal(SIGPIPE, SIG_IGN);
  cli::app app("xenpv-disk", "serve a PV disk of this Xen guest over NBD");
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
            "Path of xenpv-custodian, the helper program that closes the disk after a crash."},
           {"XENPV_IRQ_DIRECTORY",
            "A writable copy of /proc/irq, for services that may not write there."},
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
      .manual_section(
          "PRIVILEGES",
          {{"Start",
            "Root starts serve and attach. While they start, they read the keys and the access "
            "list, open /dev/xen, connect the disks and create the sockets."},
           {"Afterwards",
            "Before the first client connects, all threads change to the user of --user and drop "
            "all capabilities, for ever (no_new_privs). The default user is xenpv; if there is no "
            "such user, or if it cannot use /dev/xen, a message says that the server keeps root's "
            "user ID. Its memory can be read neither by other processes of the user nor from a "
            "core dump."},
           {"Files",
            "Where Linux supports Landlock (5.13), the server can only open /dev/xen, /proc, /sys, "
            "xenstore's socket and, for a reload, the directories of its TLS files and of its "
            "access list. Of files in /, in a directory such as /etc or in a user's home, it can "
            "open only those that existed at start. The user must be able to read the files that a "
            "reload reads: chgrp xenpv FILE; chmod 640 FILE."},
           {"System calls",
            "A filter (seccomp) permits the system calls that a server needs. Any other fails, and "
            "is logged once; please report such a line. --sandbox=log permits and logs them; "
            "--sandbox=off installs neither the filter nor the restriction of files."},
           {"xenpv-helper, xenpv-device",
            "Helper processes of the server keep what root must do later: start another custodian, "
            "remove the sockets and the PID file, return a disk that was never served to the "
            "kernel driver, set the affinity of the server's interrupts and, for attach, control "
            "the one kernel NBD device of the server. They accept nothing else, and only for the "
            "disks, files and the device that the server named before it dropped its privileges."},
           {"xenpv-custodian",
            "Keeps root's user ID, so that systemd spares it at shutdown, but no capabilities; it "
            "is confined to xenstore. It never has keys in its memory."},
           {"run, bench",
            "Keep their privileges while they run; a command that run executes has those of the "
            "caller."}})
      .example("copy a disk, then exit", "xenpv-disk run xvdb -- sh -c 'nbdcopy $uri disk.img'");
  disk_app::add_list(app);
  disk_app::add_serve(app);
  disk_app::add_run(app);
  disk_app::add_attach(app);
  disk_app::add_detach(app);
  disk_app::add_release(app);
  disk_app::add_status(app);
  disk_app::add_reload(app);
  disk_app::add_disconnect(app);
  disk_app::add_bench(app);
  return app.run(argc, argv);
}

}  // namespace xenpv::apps
