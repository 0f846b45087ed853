// The parameters of a ublk device: chosen from the served disk's geometry and pages, encoded for
// the driver, and compared with a device that a previous server left behind. Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ublk/command.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/blk/request.hpp"

namespace xenpv::ublk {

/// The queues of a device.
struct device_plan {
  std::uint16_t queues = 1;
  std::uint16_t depth = 128;               ///< tags per queue: requests in flight
  std::uint32_t max_io_bytes = 1U << 17U;  ///< the kernel splits larger requests
  /// Requests of the maximum size do not fit into the pages of a queue, so their data is copied
  /// once more.
  bool copies = false;

  friend bool operator==(const device_plan&, const device_plan&) = default;
};

/// Plans a device for a disk with `queues` queues of `pages` pages each. With fewer pages, requests
/// are smaller and there are fewer tags; below 32 pages, data is copied.
[[nodiscard]] device_plan choose_plan(const blk::geometry& geometry, std::size_t queues,
                                      std::size_t pages) noexcept;

/// Whether a request of `bytes` can ever have pages of a pool with `pages` pages.
[[nodiscard]] bool fits(std::uint64_t bytes, std::size_t pages) noexcept;

/// The parameters of a device for this disk. Returns errc::invalid_argument if the driver does not
/// support the sector size, or the disk has no sector.
[[nodiscard]] result<params> params_for(const blk::geometry& geometry, bool read_only,
                                        const device_plan& plan);

/// Returns errc::not_available, with the required version of Linux, unless the driver supports the
/// features that a server needs.
[[nodiscard]] result<void> check_features(std::uint64_t features);

/// The flags of a new device. `keep`: it outlives its server, and requests that the server has not
/// completed are sent to the next one.
[[nodiscard]] std::uint64_t flags_for(std::uint64_t features, bool keep) noexcept;

/// Returns the plan of a device that a previous server left behind, or the reason why it cannot
/// serve this disk: another sector size, or a writable device for a read-only disk.
[[nodiscard]] result<device_plan> plan_for_takeover(const dev_info& info, const params& before,
                                                    const blk::geometry& geometry, bool read_only,
                                                    std::size_t pages);

}  // namespace xenpv::ublk
