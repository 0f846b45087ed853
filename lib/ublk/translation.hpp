// Translates requests of the kernel's ublk driver to requests of a block device, and their results
// back. Pure functions.
#pragma once

#include <cstdint>
#include <system_error>

#include "ublk/command.hpp"
#include "xenpv/blk/request.hpp"

namespace xenpv::ublk {

/// A kernel request, translated for a block device.
struct block_operation {
  /// A negative errno: the request must be completed with it, and the rest is not set.
  std::int32_t refused = 0;
  blk::operation op = blk::operation::read;
  bool fua = false;
  std::uint64_t offset = 0;  ///< bytes
  std::uint64_t length = 0;  ///< bytes; 0 for a flush

  [[nodiscard]] bool has_data() const noexcept {
    return op == blk::operation::read || op == blk::operation::write;
  }
};

/// Translates a descriptor, which the caller has copied from shared memory. Refuses operations that
/// the parameters of the device do not offer (EOPNOTSUPP), and data that is empty, larger than
/// `largest` bytes or beyond 2^64 (EINVAL). The block device checks its own end.
[[nodiscard]] block_operation translate(const io_desc& descriptor, std::uint64_t largest) noexcept;

/// Returns the result with which the kernel completes a request: the number of bytes, or a negative
/// errno, which it maps to a block-layer status. `status`: the status of the block request.
[[nodiscard]] std::int32_t result_of(const block_operation& operation,
                                     const std::error_code& status) noexcept;

}  // namespace xenpv::ublk
