// Opens a block device that this process may have to serve.
//
// Owned by the caller. Knows neither drivers nor device names.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>

#include "xenpv/base/unique_fd.hpp"

namespace xenpv {

/// A child process that opens a device and closes it again.
///
/// Opening a device makes the kernel read its partition table, so the process that serves this read
/// must not block in the call. A thread would not be enough: if the process were killed, the thread
/// would hang in the kernel and keep open the descriptors that its own request needs. Therefore, a
/// child process opens the device after closing all descriptors except its report pipe.
class device_opening {
 public:
  enum class purpose {
    scan,        ///< scans the partition table
    write_back,  ///< writes back the page cache
    claim,       ///< EBUSY if the disk or a partition is mounted, swap or part of a device
  };

  /// Forks the child. Throws `failure`.
  device_opening(const std::string& path, purpose intent);
  /// Another process opens the device; `outcome` is its report pipe.
  explicit device_opening(unique_fd outcome) noexcept : outcome_(std::move(outcome)) {}
  /// Does not wait for a child that hangs; the child exits when the device is disconnected.
  ~device_opening();
  device_opening(const device_opening&) = delete;
  device_opening& operator=(const device_opening&) = delete;

  /// A descriptor that becomes readable when outcome() is available.
  [[nodiscard]] int readable() const noexcept { return outcome_.get(); }
  /// Waits for the child; returns 0 or an errno.
  [[nodiscard]] int outcome();
  /// Gives up the report pipe, and with it the outcome.
  [[nodiscard]] unique_fd release() noexcept { return std::move(outcome_); }

 private:
  pid_t child_ = -1;
  unique_fd outcome_;
};

}  // namespace xenpv
