// Sends control commands to /dev/ublk-control over a separate ring, one at a time. Needs
// CAP_SYS_ADMIN. Blocks; use from one thread at a time.
//
// The kernel executes a command on a worker thread, which belongs to the thread that sent it, has
// its capabilities and outlives the command. Therefore, each command is sent by a thread of its
// own: when that has ended, no worker is left in a process that is about to drop its privileges.
#pragma once

#include <memory>
#include <optional>

#include "ublk/command.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::ublk {

class control_ring {
 public:
  /// Throws `failure`: errc::not_available, with the command that loads the driver, if the kernel
  /// lacks it or it is not loaded; errc::not_available if io_uring is not permitted.
  control_ring();
  ~control_ring();
  control_ring(const control_ring&) = delete;
  control_ring& operator=(const control_ring&) = delete;

  /// Returns what the kernel returns: 0 or more, or a negative errno.
  [[nodiscard]] int send(control_command command, const ctrl_cmd& content);

 private:
  /// nullopt: the ring does not work.
  [[nodiscard]] std::optional<int> execute(control_command command, const ctrl_cmd& content);

  struct ring;
  unique_fd device_;
  std::unique_ptr<ring> ring_;  ///< null after a failure
};

}  // namespace xenpv::ublk
