#include "sim/guest/libc.hpp"

namespace xenpv::sim::guest::libc {

int open(const char* path, int flags, mode_t mode) {
  static const auto function = next<int(const char*, int, ...)>("open");
  return function(path, flags, mode);
}

int close(int fd) {
  static const auto function = next<int(int)>("close");
  return function(fd);
}

ssize_t read(int fd, void* bytes, std::size_t size) {
  static const auto function = next<ssize_t(int, void*, std::size_t)>("read");
  return function(fd, bytes, size);
}

ssize_t write(int fd, const void* bytes, std::size_t size) {
  static const auto function = next<ssize_t(int, const void*, std::size_t)>("write");
  return function(fd, bytes, size);
}

void* mmap(void* address, std::size_t size, int protection, int flags, int fd,
           off_t offset) noexcept {
  static const auto function = next<void*(void*, std::size_t, int, int, int, off_t)>("mmap");
  return function(address, size, protection, flags, fd, offset);
}

int munmap(void* address, std::size_t size) noexcept {
  static const auto function = next<int(void*, std::size_t)>("munmap");
  return function(address, size);
}

}  // namespace xenpv::sim::guest::libc
