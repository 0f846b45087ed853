// Access to a request's data, which is in one buffer or in pages of a pool.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "xenpv/blk/page_pool.hpp"
#include "xenpv/blk/request.hpp"

namespace xenpv::blkfront {

/// Copies the request's data at byte `position` to `buffer`.
inline void copy_from_request(const blk::request& r, std::uint64_t position,
                              std::span<std::byte> buffer) {
  if (r.memory != nullptr)
    std::memcpy(buffer.data(), r.memory + position, buffer.size());
  else
    r.pages->copy_to(position, buffer);
}

inline void copy_to_request(const blk::request& r, std::uint64_t position,
                            std::span<const std::byte> data) {
  if (r.memory != nullptr)
    std::memcpy(r.memory + position, data.data(), data.size());
  else
    r.pages->copy_from(position, data);
}

[[nodiscard]] constexpr bool carries_data(blk::operation op) noexcept {
  return op == blk::operation::read || op == blk::operation::write;
}
/// `fua` is ignored for operations other than writes.
[[nodiscard]] inline bool is_fua(const blk::request& r) noexcept {
  return r.fua && r.op == blk::operation::write;
}
[[nodiscard]] constexpr bool is_discard(blk::operation op) noexcept {
  return op == blk::operation::discard || op == blk::operation::secure_discard;
}

}  // namespace xenpv::blkfront
