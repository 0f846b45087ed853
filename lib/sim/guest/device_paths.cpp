#include "sim/guest/device_paths.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "sim/guest/cancellation_guard.hpp"
#include "sim/guest/libc.hpp"

namespace xenpv::sim::guest {
namespace {

struct named_device {
  std::string_view path;
  device_path found;
};

constexpr std::array devices = {
    named_device{"/dev/xen/evtchn", {path_kind::device, device_kind::evtchn}},
    named_device{"/dev/xen/gntdev", {path_kind::device, device_kind::gntdev}},
    named_device{"/dev/xen/gntalloc", {path_kind::device, device_kind::gntalloc}},
    named_device{"/dev/xen/privcmd", {path_kind::device, device_kind::privcmd}},
    named_device{"/proc/xen/privcmd", {path_kind::device, device_kind::privcmd}},
    named_device{"/dev/xen/xenbus", {path_kind::store, device_kind::xenbus}},
    named_device{"/proc/xen/xenbus", {path_kind::store, device_kind::xenbus}},
};

constexpr std::array<std::string_view, 3> replaced_directories = {"/dev/xen", "/proc/xen",
                                                                  "/sys/hypervisor"};

const char* domain_directory() {
  return std::getenv("XENPV_SIM_DIR");
}

bool is_in(std::string_view path, std::string_view directory) {
  return path.starts_with(directory) &&
         (path.size() == directory.size() || path[directory.size()] == '/');
}

int connect_to_store(int flags) {
  const auto path = std::string(domain_directory()) + "/xenstored";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return fail(ENAMETOOLONG);
  std::memcpy(address.sun_path, path.data(), path.size());
  const int type = SOCK_STREAM | ((flags & O_CLOEXEC) != 0 ? SOCK_CLOEXEC : 0) |
                   ((flags & O_NONBLOCK) != 0 ? SOCK_NONBLOCK : 0);
  const int fd = ::socket(AF_UNIX, type, 0);
  if (fd < 0) return -1;
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
  const int error = errno;
  libc::close(fd);
  return fail(error);
}

}  // namespace

device_path find_path(const char* path) noexcept {
  // Most paths fail here, before the environment is searched.
  if (path == nullptr || path[0] != '/' || (path[1] != 'd' && path[1] != 'p' && path[1] != 's'))
    return {};
  const std::string_view name(path);
  bool replaced = false;
  for (const auto directory : replaced_directories)
    replaced = replaced || is_in(name, directory);
  if (!replaced || domain_directory() == nullptr) return {};
  for (const auto& device : devices)
    if (device.path == name) return device.found;
  return {path_kind::file, device_kind::none};
}

bool is_device(const device_path& found) noexcept {
  return found.kind == path_kind::device || found.kind == path_kind::store;
}

dev_t device_number(device_kind device) noexcept {
  constexpr unsigned misc_major = 10;
  constexpr unsigned first_minor = 50;
  return ::gnu_dev_makedev(misc_major, first_minor + static_cast<unsigned>(device));
}

std::string simulated_path(std::string_view path) {
  const auto* directory = domain_directory();
  return std::string(directory == nullptr ? "" : directory) + "/root" + std::string(path);
}

int open_path(const device_path& found, const char* path, int flags) noexcept {
  const cancellation_guard guard;
  switch (found.kind) {
    case path_kind::device:
      return open_device_file(found.device, flags);
    case path_kind::store: {
      const int fd = connect_to_store(flags);
      if (fd >= 0) add_duplicate(fd, {device_kind::xenbus, 0});
      return fd;
    }
    case path_kind::file:
    case path_kind::other:
      break;
  }
  return libc::open(simulated_path(path).c_str(), flags & ~O_CREAT);
}

}  // namespace xenpv::sim::guest
