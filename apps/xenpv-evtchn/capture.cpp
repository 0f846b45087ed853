#include "doctor/capture.hpp"

#include <fmt/format.h>

#include <iostream>
#include <ostream>
#include <sstream>

#include "base/output_file.hpp"
#include "cli/value.hpp"
#include "commands.hpp"

namespace xenpv::evtchn_app {
namespace {

constexpr const char* top = "xenpv-capture";

cli::exit_code capture(const std::string& path, std::ostream& out) {
  const auto files = doctor::collect_capture({});
  std::ostringstream archive;
  doctor::write_tar(archive, top, files);
  write_output(path, archive.str(), output_access::by_umask, out);
  if (is_standard_output(path)) return cli::exit_code::ok;
  std::cerr << fmt::format("{} files; to examine them: tar -xf {} && xenpv-evtchn list --root {}\n",
                           files.size(), path, top);
  return cli::exit_code::ok;
}

}  // namespace

void add_capture(cli::app& app) {
  static std::string path;
  app.add_command("capture", "save the files that this program reads, for analysis elsewhere")
      .describe(
          "Writes a tar archive of the guest's files, which the other commands can read with "
          "--root: interrupts and their affinities, whether irqbalance runs, clocks, PV devices, "
          "the CPU masks of receive queues, the ports according to xenstore and the hypervisor, "
          "and the parts of the kernel log and command line about "
          "Xen, PV devices, clocks and stalled tasks. It contains the names of processes that have "
          "event channels or stalled, but no process command lines, addresses or host names. Run "
          "it as root for a complete capture.")
      .example("capture here, analyse elsewhere",
               "xenpv-evtchn capture guest.tar; tar -xf guest.tar; "
               "xenpv-evtchn list --root xenpv-capture")
      .argument("FILE", path, "the archive to write; - for stdout", cli::as_text)
      .action([](std::ostream& out) { return capture(path, out); });
}

}  // namespace xenpv::evtchn_app
