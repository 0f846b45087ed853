#include "sim/guest/grant_device.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <new>

#include "sim/guest/attachment.hpp"

namespace xenpv::sim::guest {

xengntdev_handle* open_grant_device(int flags) noexcept {
  if (attachment::current() == nullptr) return nullptr;
  const int fd = ::open("/dev/null", O_RDWR | flags);
  if (fd < 0) return nullptr;
  auto* handle = new (std::nothrow) xengntdev_handle{fd};
  if (handle == nullptr) {
    ::close(fd);
    errno = ENOMEM;
  }
  return handle;
}

int close_grant_device(xengntdev_handle* handle) noexcept {
  if (handle == nullptr) return 0;
  const int result = ::close(handle->fd);
  delete handle;
  return result;
}

int set_notice(control_op op, std::uint32_t id, std::uint32_t offset, std::uint32_t port) noexcept {
  constexpr auto none = ~std::uint32_t{0};
  auto* host = attachment::current();
  if (host == nullptr) return errno;
  return host
      ->call(op, id, offset == none ? no_notice : std::uint64_t{offset},
             port == none ? no_notice : std::uint64_t{port})
      .error;
}

}  // namespace xenpv::sim::guest
