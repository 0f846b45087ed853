// xenpv-disk: a PV disk of this guest as an NBD endpoint, from user space.
#include <csignal>

#include "commands.hpp"

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  xenpv::cli::app app("xenpv-disk", "serve a PV disk of this Xen guest over NBD");
  app.root()
      .describe(
          "Becomes the block frontend of a disk that the toolstack attached to this guest, in the "
          "kernel's place, and offers it to NBD clients: nbd-client makes it a block device again, "
          "qemu-img and nbdcopy use it as it is.")
      .example("which disks there are, and who has them", "xenpv-disk list")
      .example("serve one that the kernel holds", "xenpv-disk serve xvdb --take")
      .example("the same disk as a block device again", "xenpv-disk attach xvdb --take")
      .example("copy a disk and be done", "xenpv-disk run xvdb -- sh -c 'nbdcopy $uri disk.img'");
  xenpv::disk_app::add_list(app);
  xenpv::disk_app::add_serve(app);
  xenpv::disk_app::add_run(app);
  xenpv::disk_app::add_attach(app);
  xenpv::disk_app::add_detach(app);
  xenpv::disk_app::add_status(app);
  xenpv::disk_app::add_bench(app);
  return app.run(argc, argv);
}
