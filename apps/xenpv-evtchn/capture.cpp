#include "xenpv/diag/capture.hpp"

#include <fmt/format.h>

#include <fstream>
#include <iostream>
#include <ostream>

#include "commands.hpp"
#include "xenpv/cli/value.hpp"

namespace xenpv::evtchn_app {
namespace {

constexpr const char* top = "xenpv-capture";

cli::exit_code capture(const std::string& path, std::ostream& out) {
  const auto files = diag::collect_capture({});
  if (path == "-") {
    diag::write_tar(out, top, files);
    return cli::exit_code::ok;
  }
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  if (!file) throw_errno(fmt::format("write {}", path));
  diag::write_tar(file, top, files);
  file.flush();
  if (!file) throw_errno(fmt::format("write {}", path));
  std::cerr << fmt::format("{} files; to look at them: tar -xf {} && xenpv-evtchn list --root {}\n",
                           files.size(), path, top);
  return cli::exit_code::ok;
}

}  // namespace

void add_capture(cli::app& app) {
  static std::string path;
  app.add_command("capture", "put what this program reads into a file for somebody else")
      .describe(
          "Writes a tar archive of the guest's files that the other commands read with --root: "
          "interrupts and their affinities, clocks, PV devices, and what xenstore and the "
          "hypervisor say of ports. Names of processes that have event channels are in it; no "
          "command lines, addresses or host names. Root sees most.")
      .example("take it here, look at it there",
               "xenpv-evtchn capture guest.tar; tar -xf guest.tar; "
               "xenpv-evtchn list --root xenpv-capture")
      .argument("FILE", path, "the archive to write; - is standard output", cli::as_text)
      .action([](std::ostream& out) { return capture(path, out); });
}

}  // namespace xenpv::evtchn_app
