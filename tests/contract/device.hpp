// An open device file of one of Xen's drivers, controlled by raw system calls, as programs do that
// do not use the Xen libraries. The headers do not declare C linkage, so C++ code must.
#pragma once

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "contract/environment.hpp"
#include "xenpv/base/types.hpp"
#include "xenpv/base/unique_fd.hpp"

extern "C" {
#include <xen/xen.h>
// The other headers need the types of xen.h.
#include <xen/event_channel.h>
#include <xen/grant_table.h>
#include <xen/sys/evtchn.h>
#include <xen/sys/gntalloc.h>
#include <xen/sys/gntdev.h>
#include <xen/sys/privcmd.h>
#include <xen/version.h>
}

namespace xenpv::contract {

class device {
 public:
  /// Throws std::system_error if the device cannot be opened.
  explicit device(const std::string& path, int flags = O_RDWR)
      : fd_(::open(path.c_str(), flags | O_CLOEXEC)) {
    if (!fd_) throw std::system_error(errno, std::generic_category(), "open " + path);
  }

  [[nodiscard]] int descriptor() const { return fd_.get(); }
  void close() { fd_.reset(); }

  /// Makes a request with an argument that may be nullptr.
  [[nodiscard]] outcome request(unsigned long number, void* argument) const {
    return attempt([&] { return ::ioctl(fd_.get(), number, argument); });
  }
  template <class Argument>
  [[nodiscard]] outcome request(unsigned long number, Argument& argument) const {
    return request(number, static_cast<void*>(&argument));
  }
  /// Makes a request that must succeed, and returns its result. Throws std::system_error.
  template <class Argument>
  std::uint32_t must(unsigned long number, Argument& argument) const {
    const int result = ::ioctl(fd_.get(), number, &argument);
    if (result < 0) throw std::system_error(errno, std::generic_category(), "ioctl");
    return static_cast<std::uint32_t>(result);
  }

 private:
  unique_fd fd_;
};

/// Returns a request number of the type that no driver has.
[[nodiscard]] constexpr unsigned long unknown_request(char type) {
  return _IOC(_IOC_NONE, static_cast<unsigned>(type), 200U, 0U);
}

/// Announces a mapping to gntdev, and returns its offset for mmap(2).
[[nodiscard]] inline std::uint64_t announce_map(const device& gntdev,
                                                std::span<const ioctl_gntdev_grant_ref> refs) {
  // The struct's last member is an array of all references.
  constexpr auto first = offsetof(ioctl_gntdev_map_grant_ref, refs);
  std::vector<std::byte> storage(sizeof(ioctl_gntdev_map_grant_ref) + refs.size_bytes());
  auto& request = *new (storage.data()) ioctl_gntdev_map_grant_ref{};
  request.count = static_cast<std::uint32_t>(refs.size());
  std::memcpy(storage.data() + first, refs.data(), refs.size_bytes());
  gntdev.must(IOCTL_GNTDEV_MAP_GRANT_REF, request);
  return request.index;
}

/// Pages of a device that this process has mapped. If mmap(2) failed, the object is empty.
class device_pages {
 public:
  device_pages(const device& file, std::uint64_t offset, std::size_t count,
               int protection = PROT_READ | PROT_WRITE, int flags = MAP_SHARED)
      : size_(count * page_size) {
    errno = 0;
    void* mapped =
        ::mmap(nullptr, size_, protection, flags, file.descriptor(), static_cast<off_t>(offset));
    error_ = mapped == MAP_FAILED ? errno : 0;
    memory_ = mapped == MAP_FAILED ? nullptr : static_cast<unsigned char*>(mapped);
  }
  device_pages(const device_pages&) = delete;
  device_pages& operator=(const device_pages&) = delete;
  ~device_pages() { unmap(); }

  [[nodiscard]] outcome result() const { return {memory_ != nullptr, error_}; }
  [[nodiscard]] unsigned char& operator[](std::size_t index) const { return memory_[index]; }
  [[nodiscard]] const void* address() const { return memory_; }
  void unmap() {
    if (memory_ != nullptr) ::munmap(std::exchange(memory_, nullptr), size_);
  }

 private:
  std::size_t size_;
  unsigned char* memory_ = nullptr;
  int error_ = 0;
};

}  // namespace xenpv::contract
