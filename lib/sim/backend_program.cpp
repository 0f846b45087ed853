#include "sim/backend_program.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string_view>

#include "sim/toolstack.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::sim {
namespace {

/// Debian 12 and 13, then the paths of a Xen that was built from source.
constexpr std::array<std::string_view, 4> qemu_paths = {
    "/usr/libexec/xen-qemu-system-i386", "/usr/libexec/xen/bin/qemu-system-i386",
    "/usr/lib/xen/bin/qemu-system-i386", "/usr/local/lib/xen/bin/qemu-system-i386"};

constexpr std::string_view qemu_remedy =
    "install Debian's package qemu-system-xen, or set XENPV_SIM_QEMU to the path of a "
    "qemu-system-i386 with Xen support";

/// In a QEMU option, a comma within a value is doubled.
std::string escape_commas(std::string_view text) {
  std::string out;
  for (const char c : text) {
    out += c;
    if (c == ',') out += c;
  }
  return out;
}

}  // namespace

std::filesystem::path find_qemu() {
  if (const char* const path = std::getenv("XENPV_SIM_QEMU"); path != nullptr && *path != '\0') {
    if (::access(path, X_OK) == 0) return path;
    throw failure(errc::not_available, fmt::format("find QEMU at {} (XENPV_SIM_QEMU)", path),
                  qemu_remedy);
  }
  for (const auto candidate : qemu_paths)
    if (const std::string path(candidate); ::access(path.c_str(), X_OK) == 0) return path;
  throw failure(errc::not_available, fmt::format("find QEMU in {}", fmt::join(qemu_paths, ", ")),
                qemu_remedy);
}

std::filesystem::path qmp_socket(const std::filesystem::path& host_directory, domid domain) {
  return host_directory / fmt::format("qmp-{}", domain);
}

backend_program qemu_program(const std::filesystem::path& qemu,
                             const std::filesystem::path& host_directory, domid domain,
                             const std::string& guest) {
  const auto monitor = qmp_socket(host_directory, domain).string();
  return {{qemu.string(),
           "-xen-domid",
           fmt::format("{}", domain),
           "-no-shutdown",
           "-chardev",
           fmt::format("socket,id=libxl-cmd,path={},server=on,wait=off", escape_commas(monitor)),
           "-mon",
           "chardev=libxl-cmd,mode=control",
           "-nodefaults",
           "-no-user-config",
           "-xen-attach",
           "-name",
           guest,
           "-vnc",
           "none",
           "-display",
           "none",
           "-machine",
           "xenpv",
           "-m",
           "256"},
          {}};
}

backend_program command_program(domid domain, const disk_spec& disk) {
  return {{"/bin/sh", "-c", disk.command},
          {{"XENPV_SIM_DOMAIN", fmt::format("{}", domain)},
           {"XENPV_SIM_DISK", disk.name},
           {"XENPV_SIM_DEVICE", fmt::format("{}", disk.device)},
           {"XENPV_SIM_BACKEND", backend_path(domain, disk)},
           {"XENPV_SIM_FRONTEND", frontend_path(domain, disk)},
           {"XENPV_SIM_FILE", disk.path}}};
}

void require_backends(std::span<const disk_spec> disks) {
  for (const auto& disk : disks) {
    if (disk.server != disk_server::qemu) continue;
    (void)find_qemu();
    // QEMU reports a missing file only in its log. Like libxl, refuse to create the guest.
    const int needed = disk.read_only ? R_OK : R_OK | W_OK;
    if (::access(disk.path.c_str(), needed) != 0)
      throw_errno(fmt::format("disk {}: open {}", disk.name, disk.path));
  }
}

}  // namespace xenpv::sim
