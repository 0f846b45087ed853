// xenpv-disk: a PV disk of this guest as an NBD endpoint, from user space.
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
      .example("list the disks and their holders", "xenpv-disk list")
      .example("serve a disk that the kernel holds", "xenpv-disk serve xvdb --take")
      .example("attach the disk as a block device", "xenpv-disk attach xvdb --take")
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
