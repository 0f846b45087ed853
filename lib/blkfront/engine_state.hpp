// The parts of an engine that only its own units need to see. Private to engine*.cpp.
#pragma once

#include <cerrno>

#include "blkfront/engine.hpp"
#include "blkfront/request_data.hpp"

namespace xenpv::blkfront {

/// What a request is waiting for (request::device_part::phase).
enum class phase : std::uint8_t { fresh, data, flush };

[[nodiscard]] inline phase phase_of(const blk::request& r) noexcept {
  return static_cast<phase>(r.device.phase);
}
inline void set_phase(blk::request& r, phase p) noexcept {
  r.device.phase = static_cast<std::uint8_t>(p);
}

/// In request::device_part::flags: it has waited for pages of the pool. No hold may wait for it:
/// its pages may be on lease to a request that waits for the hold, and a hold may have overtaken
/// it.
inline constexpr std::uint8_t lacks_pages = 0x80;

/// A request that was answered while the backend had ring requests of it: what stays the backend's.
struct engine::orphaned_request {
  blk::page_chain pages;          ///< of its lease
  stretch bytes;                  ///< that it writes to; empty: none
  std::uint64_t fence = 0;        ///< around `bytes`; 0: none
  blk::request* waits = nullptr;  ///< is answered when every queue has raised the fence
  unsigned slots = 0;             ///< ring requests without an answer
};

[[nodiscard]] constexpr bool changes_data(blk::operation op) noexcept {
  return op == blk::operation::write || is_discard(op);
}
[[nodiscard]] constexpr bool changes_data(wire::blkif_op op) noexcept {
  return op == wire::blkif_op::write || op == wire::blkif_op::discard;
}

[[nodiscard]] inline std::error_code io_error() noexcept {
  return std::make_error_code(std::errc::io_error);
}
[[nodiscard]] inline std::error_code not_supported() noexcept {
  return std::make_error_code(std::errc::operation_not_supported);
}
[[nodiscard]] inline error violation(std::string_view what) {
  return make_error(errc::protocol_violation, what,
                    "the backend is broken or hostile; the disk is not used any more");
}

}  // namespace xenpv::blkfront
