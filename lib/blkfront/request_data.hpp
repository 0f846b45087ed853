// A request's bytes, wherever its caller keeps them: one buffer, or pages of some pool.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "xenpv/blk/page_pool.hpp"
#include "xenpv/blk/request.hpp"

namespace xenpv::blkfront {

/// Copies the request's bytes from `at` on to `to`.
inline void copy_from_request(const blk::request& r, std::uint64_t at, std::span<std::byte> to) {
  if (r.memory != nullptr)
    std::memcpy(to.data(), r.memory + at, to.size());
  else
    r.pages->copy_to(at, to);
}

inline void copy_to_request(const blk::request& r, std::uint64_t at,
                            std::span<const std::byte> from) {
  if (r.memory != nullptr)
    std::memcpy(r.memory + at, from.data(), from.size());
  else
    r.pages->copy_from(at, from);
}

[[nodiscard]] constexpr bool carries_data(blk::operation op) noexcept {
  return op == blk::operation::read || op == blk::operation::write;
}
/// Of anything but a write the flag means nothing.
[[nodiscard]] inline bool is_fua(const blk::request& r) noexcept {
  return r.fua && r.op == blk::operation::write;
}
[[nodiscard]] constexpr bool is_discard(blk::operation op) noexcept {
  return op == blk::operation::discard || op == blk::operation::secure_discard;
}

}  // namespace xenpv::blkfront
