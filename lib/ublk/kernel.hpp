// Interfaces to the kernel's ublk driver: control commands, a device, and the queues of a device.
// ublk/driver.hpp implements them with the real driver, tests with a fake.
//
// Owned by an attachment, which also decides when a command is permitted.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "ublk/command.hpp"
#include "xenpv/async/asio.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::ublk {

/// Receives the completions of a queue's commands, on the queue's thread.
class queue_listener {
 public:
  virtual ~queue_listener() = default;
  /// The kernel has completed the command that gave it `tag`: io_res_ok, io_res_abort, or the
  /// negative errno of a command that it refused.
  virtual void completed(std::uint16_t tag, std::int32_t result) = 0;
  /// All present completions have been passed.
  virtual void batch_completed() = 0;
};

/// One queue of a device. All functions are called on the queue's own thread, which is the only one
/// whose commands the kernel accepts.
class kernel_queue {
 public:
  virtual ~kernel_queue() = default;

  /// Sets the listener. Call once, before the other functions. It must stay valid until close().
  virtual void listen(queue_listener& listener) = 0;
  /// Prepare a command. The kernel owns the tag from submit() until completed().
  /// @{
  virtual void fetch(std::uint16_t tag) = 0;
  virtual void commit(std::uint16_t tag, std::int32_t result) = 0;
  /// @}
  /// Sends the prepared commands. May call the listener, but not while the listener is running.
  virtual void submit() = 0;

  /// A copy of the descriptor of a tag that the kernel does not own.
  [[nodiscard]] virtual io_desc descriptor(std::uint16_t tag) const = 0;
  /// Copy the data of a write request into `memory`, or of a read request from it. Return 0 or an
  /// errno. `memory` has the length of the request.
  /// @{
  [[nodiscard]] virtual int copy_from_request(std::uint16_t tag, std::span<const iovec> memory) = 0;
  [[nodiscard]] virtual int copy_to_request(std::uint16_t tag, std::span<const iovec> memory) = 0;
  /// @}

  /// Takes all tags away from the kernel. The listener is not called any more.
  virtual void close() = 0;
};

/// An open /dev/ublkcN. Destroying it, after its queues, tells the kernel that the server has
/// ended.
class kernel_device {
 public:
  virtual ~kernel_device() = default;
  /// Opens a queue for the thread of `executor`, on that thread. Throws `failure`.
  [[nodiscard]] virtual std::unique_ptr<kernel_queue> open_queue(
      const asio::any_io_executor& executor, std::uint16_t index, std::uint16_t depth) = 0;
};

/// Commands to a started device. They block, and the kernel may wait for requests that this process
/// serves. Throw `failure` with the command and the device.
class device_control {
 public:
  virtual ~device_control() = default;
  /// Removes /dev/ublkbN once the requests in flight have completed, and then aborts all tags.
  virtual void stop(std::uint32_t index) = 0;
  /// Removes the device. Call when no process has /dev/ublkcN open.
  virtual void remove(std::uint32_t index) = 0;
  /// Changes the size, in sectors of 512 bytes. Needs f_update_size.
  virtual void update_size(std::uint32_t index, std::uint64_t sectors) = 0;
  /// Writes back the page cache of /dev/ublkbN.
  virtual void write_back(std::uint32_t index) = 0;
};

/// Adds the commands that create a device or take one over. They need CAP_SYS_ADMIN.
class kernel_driver : public device_control {
 public:
  [[nodiscard]] virtual std::uint64_t features() = 0;
  /// Creates a device. Returns `wanted` as adjusted by the kernel.
  [[nodiscard]] virtual dev_info add(const dev_info& wanted) = 0;
  virtual void set_params(std::uint32_t index, const params& value) = 0;
  [[nodiscard]] virtual params get_params(std::uint32_t index) = 0;
  /// nullopt: there is no such device.
  [[nodiscard]] virtual std::optional<dev_info> get_info(std::uint32_t index) = 0;
  /// The numbers of all devices, also of those without a server.
  [[nodiscard]] virtual std::vector<std::uint32_t> device_numbers() = 0;
  /// Create /dev/ublkbN, or resume it. Wait until all tags of all queues have been fetched; `start`
  /// also reads the partition table, through the server.
  /// @{
  virtual void start(std::uint32_t index, std::int32_t process) = 0;
  virtual void end_recovery(std::uint32_t index, std::int32_t process) = 0;
  /// @}
  /// Prepares the device for a new server. Returns false while the kernel still cleans up after the
  /// previous one.
  [[nodiscard]] virtual bool start_recovery(std::uint32_t index) = 0;
  /// Limits how long the kernel waits before it aborts the requests of a server that has died.
  virtual void limit_requests(std::uint32_t index, std::uint32_t milliseconds) = 0;
  /// Opens /dev/ublkcN. Null while a previous server has it open.
  [[nodiscard]] virtual std::shared_ptr<kernel_device> open(std::uint32_t index) = 0;
};

}  // namespace xenpv::ublk
