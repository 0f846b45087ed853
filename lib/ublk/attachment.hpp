// Manages a ublk device that serves a block device: creates it or takes it over from a previous
// server, serves its queues, passes size changes to the kernel, stops it, or leaves it behind for
// the next server.
//
// Used on the control thread. Each queue of the device is served on the thread of one queue of the
// block device. Commands to the kernel block, so they run on a dedicated thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "ublk/kernel.hpp"
#include "ublk/parameters.hpp"
#include "ublk/queue_server.hpp"
#include "xenpv/async/asio.hpp"
#include "xenpv/blk/block_device.hpp"

namespace xenpv::ublk {

struct attachment_options {
  bool read_only = false;
  /// The device outlives this process: see attachment::leave().
  bool keep = false;
  /// The number of the new device; unset: the kernel chooses one.
  std::optional<std::uint32_t> index;
  /// Set to take over a device that a previous server left behind.
  std::optional<std::uint32_t> adopted;
  /// Stored in the device, so that the next server recognises it (dev_info::ublksrv_flags). Must be
  /// the same for all servers of a disk, of which only one runs, and differ for other disks.
  std::uint64_t token = 0;
  std::int32_t process = 0;  ///< the ID of this process
  /// Time limit for reading the partition table of the new device.
  std::chrono::nanoseconds start_limit = std::chrono::seconds(30);
  /// Time limit for the kernel to clean up after the previous server. A server that was killed with
  /// all tags in use is noticed only when a request times out.
  std::chrono::nanoseconds takeover_limit = std::chrono::seconds(60);
  /// When the device is stopped, the requests in flight fail once none has completed for this time.
  /// When it is left behind, the time limit for requests in flight.
  std::chrono::nanoseconds drain_limit = std::chrono::seconds(10);
};

/// The state of an attachment.
enum class attachment_state : std::uint8_t {
  absent,    ///< no device yet
  starting,  ///< the device is being created or taken over
  live,      ///< requests are served
  stopping,  ///< the device is being stopped
  left,      ///< the next server can take the device over
  gone,      ///< the device has been stopped
};
/// "absent", ...
[[nodiscard]] std::string_view to_string(attachment_state state) noexcept;

class attachment {
 public:
  /// `device` must outlive this object until its requests have completed, which may be later than
  /// the destruction of this object. `geometry` describes the device.
  attachment(const asio::any_io_executor& control, blk::block_device& device,
             const blk::geometry& geometry, std::shared_ptr<kernel_driver> driver,
             attachment_options options);
  ~attachment();
  attachment(const attachment&) = delete;
  attachment& operator=(const attachment&) = delete;

  /// Creates the device, or takes it over. Before, removes devices of the disk that a killed server
  /// left without their block device. When it returns, /dev/ublkbN and its partitions exist.
  /// Throws `failure` after removing a new device; a device that cannot be taken over stays. Needs
  /// CAP_SYS_ADMIN, also on the threads of the queues. Call once.
  [[nodiscard]] asio::awaitable<void> start();
  /// Sends all further requests about the started device through `control`.
  void use(std::shared_ptr<device_control> control);

  [[nodiscard]] attachment_state state() const noexcept;
  /// These are valid after start().
  /// @{
  [[nodiscard]] std::uint32_t index() const noexcept;  ///< N in /dev/ublkbN
  [[nodiscard]] std::string path() const;              ///< "/dev/ublkb0"
  [[nodiscard]] const device_plan& plan() const noexcept;
  [[nodiscard]] bool can_resize() const noexcept;  ///< the kernel has UPDATE_SIZE
  /// @}

  /// Serves the device until it is stopped, by this object or by another process, or left behind.
  /// If another process stopped it, removes it. Throws `failure` if the kernel refuses a command.
  /// Cancellation leaves the device unchanged.
  [[nodiscard]] asio::awaitable<void> run();
  /// Call when the served device has a new geometry; run() passes its size to the kernel, or warns
  /// once that the kernel cannot change it.
  void reshape(const blk::geometry& geometry);

  /// Writes back the page cache, stops the device and removes it. Requests fail if the disk does
  /// not complete any for drain_limit. Logs errors. Idempotent.
  [[nodiscard]] asio::awaitable<void> stop();
  /// Completes the requests in flight (for at most drain_limit) and leaves the device for the next
  /// server. Its users wait until then. Needs attachment_options::keep.
  [[nodiscard]] asio::awaitable<void> leave();

 private:
  class implementation;
  std::shared_ptr<implementation> implementation_;
};

}  // namespace xenpv::ublk
