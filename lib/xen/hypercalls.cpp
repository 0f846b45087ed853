#include "xen/hypercalls.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "xen/gnttab_library.hpp"

namespace xenpv::xen {
namespace {

constexpr const char* device = "/dev/xen/privcmd";

}  // namespace

call_handle open_calls(const system_root& root, std::string_view operation) {
  const auto unavailable = [&](std::string_view remedy) {
    return failure(errc::not_available, operation, remedy);
  };
  // Another file tree does not describe this machine's hypervisor.
  if (!root.is_real()) throw unavailable("a captured or simulated guest has no hypervisor");
  // Check this first: libxencall would report a missing device on stderr.
  if (::access(device, F_OK) != 0) throw unavailable("modprobe xen-privcmd");
  if (::faccessat(AT_FDCWD, device, R_OK | W_OK, AT_EACCESS) != 0)
    throw unavailable(fmt::format("{} needs root", device));
  call_handle handle(xencall_open(gnttab_logger(), 0));
  if (!handle) throw unavailable(fmt::format("{}: {}", device, describe_errno(errno)));
  return handle;
}

void throw_call_refused(int error, std::string_view operation) {
  // privcmd_open() returns EPERM in kernels with the XSA-482 fix.
  if (error == EPERM)
    throw failure(errc::not_available, operation,
                  "the kernel forbids hypercalls in this guest: boot with "
                  "xen_privcmd.unrestricted=1, without lockdown");
  throw_errno(error, operation);
}

}  // namespace xenpv::xen
