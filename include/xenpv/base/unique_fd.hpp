// Owns a file descriptor and closes it on destruction. Ignores errors from close(2), because there
// is no sensible way to handle them.
#pragma once

#include <unistd.h>

#include <utility>

namespace xenpv {

class unique_fd {
 public:
  unique_fd() noexcept = default;
  /// Takes ownership of `fd`; -1 means "none".
  explicit unique_fd(int fd) noexcept : fd_(fd) {}
  /// Takes the descriptor of `other`, which then owns none.
  /// @{
  unique_fd(unique_fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  unique_fd& operator=(unique_fd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  /// @}
  ~unique_fd() { reset(); }

  /// Returns a duplicate with close-on-exec set. Throws `failure`.
  [[nodiscard]] static unique_fd duplicate(int fd);

  /// The descriptor, or -1. Keeps ownership.
  [[nodiscard]] int get() const noexcept { return fd_; }
  /// True if this object owns a descriptor.
  [[nodiscard]] explicit operator bool() const noexcept { return fd_ >= 0; }
  /// Gives up ownership: the caller must close the returned descriptor.
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
  /// Closes the current descriptor, then takes ownership of `fd`.
  void reset(int fd = -1) noexcept {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

}  // namespace xenpv
