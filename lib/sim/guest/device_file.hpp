// The common interface of the simulated drivers' open file descriptions. The functions follow the
// convention of system calls: they set errno and return -1 or MAP_FAILED.
#pragma once

#include <sys/mman.h>
#include <sys/types.h>

#include <cerrno>
#include <cstddef>

namespace xenpv::sim::guest {

/// Sets errno and returns -1.
inline int fail(int error) noexcept {
  errno = error;
  return -1;
}

/// Sets errno and returns MAP_FAILED.
inline void* fail_map(int error) noexcept {
  errno = error;
  return MAP_FAILED;
}

/// An open file description of /dev/xen/gntdev, gntalloc or privcmd. Descriptors that dup(2) makes
/// share it. Thread-safe.
class device_file {
 public:
  virtual ~device_file() = default;
  device_file() = default;
  device_file(const device_file&) = delete;
  device_file& operator=(const device_file&) = delete;

  virtual int ioctl(unsigned long request, void* argument) = 0;
  [[nodiscard]] virtual void* mmap(void* address, std::size_t size, int protection, int flags,
                                   off_t offset) = 0;
};

}  // namespace xenpv::sim::guest
