// Finds the definitions that this library interposes: the ones of the next object in the search
// order, which is the C library or a sanitizer's runtime. Thread-safe.
#pragma once

#include <dlfcn.h>
#include <sys/types.h>

#include <cstddef>

namespace xenpv::sim::guest::libc {

/// Returns the next definition of the function. Cache it: the search is slow.
template <class Function>
[[nodiscard]] Function* next(const char* name) noexcept {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

// open, close, read and write are not noexcept: pthread_cancel(3) unwinds a thread that is in them.
[[nodiscard]] int open(const char* path, int flags, mode_t mode = 0);
int close(int fd);
ssize_t read(int fd, void* bytes, std::size_t size);
ssize_t write(int fd, const void* bytes, std::size_t size);
[[nodiscard]] void* mmap(void* address, std::size_t size, int protection, int flags, int fd,
                         off_t offset) noexcept;
int munmap(void* address, std::size_t size) noexcept;

}  // namespace xenpv::sim::guest::libc
