// The block device that attach creates with one of the kernel's drivers. nbd_device.hpp and
// ublk_device.hpp implement it; attach.cpp decides what happens to the device, and when.
//
// Used on the control thread, in the order of the functions. Owned by attach's service, which ends
// before the served disk.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "kept_device.hpp"
#include "kernel_device.hpp"
#include "ublk/parameters.hpp"
#include "xenpv/async/asio.hpp"
#include "xenpv/blk/request.hpp"

namespace xenpv::disk_app {

class confinement;

class attached_device {
 public:
  attached_device() = default;
  attached_device(const attached_device&) = delete;
  attached_device& operator=(const attached_device&) = delete;
  virtual ~attached_device() = default;

  /// Opens the resources that need privileges, and passes the operations that need them later to
  /// `confined`. `identity` is the disk's, for the record of a kept device. Throws `failure` after
  /// undoing its work.
  [[nodiscard]] virtual asio::awaitable<void> open(confinement& confined, std::string identity) = 0;
  /// Undoes open(): removes a new device, or leaves a device that was taken over to the next
  /// server. Use if connect() is not called.
  [[nodiscard]] virtual asio::awaitable<void> abandon() = 0;
  /// Creates the device, or takes it over from a previous server. When it returns, the device and
  /// its partitions exist. Throws `failure` after removing a new device.
  [[nodiscard]] virtual asio::awaitable<void> connect(confinement& confined) = 0;
  /// These are valid after connect().
  /// @{
  [[nodiscard]] virtual kernel_device device() const = 0;
  /// The queues of a ublk device; nullopt for another one.
  [[nodiscard]] virtual std::optional<ublk::device_plan> plan() const = 0;
  /// False once the device is being removed, by this or another process, or left behind.
  [[nodiscard]] virtual bool is_connected() const = 0;
  /// @}

  /// Serves the device until it is removed or left behind. Throws `failure` if it cannot be served.
  [[nodiscard]] virtual asio::awaitable<void> run() = 0;
  /// Call when the served disk has a new geometry.
  virtual void set_geometry(const blk::geometry& geometry) = 0;

  /// Writes back the page cache and removes the device. Logs errors. Idempotent.
  [[nodiscard]] virtual asio::awaitable<void> disconnect() = 0;
  /// Leaves the device in place for the next server. Use instead of disconnect().
  [[nodiscard]] virtual asio::awaitable<void> leave_behind() = 0;
};

}  // namespace xenpv::disk_app
