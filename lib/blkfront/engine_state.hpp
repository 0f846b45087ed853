// Internals of an engine, for engine*.cpp only.
#pragma once

#include <cerrno>

#include "blkfront/engine.hpp"
#include "blkfront/request_data.hpp"

namespace xenpv::blkfront {

/// The stage of a request (request::device_part::phase).
enum class phase : std::uint8_t { fresh, data, flush };

[[nodiscard]] inline phase phase_of(const blk::request& r) noexcept {
  return static_cast<phase>(r.device.phase);
}
inline void set_phase(blk::request& r, phase p) noexcept {
  r.device.phase = static_cast<std::uint8_t>(p);
}

/// A flag in request::device_part::flags: the request has waited for pool pages. A write lock must
/// not wait for such a request: the pages may be leased to a request that waits for that lock, and
/// a lock may have overtaken the request.
inline constexpr std::uint8_t lacks_pages = 0x80;

/// The resources that the backend may still access after a request completed without all of its
/// responses.
struct engine::orphaned_request {
  blk::page_chain pages;          ///< pages of the request's lease
  stretch bytes;                  ///< the byte range being written; empty: none
  std::uint64_t fence = 0;        ///< id of the fence around `bytes`; 0: none
  blk::request* waits = nullptr;  ///< the request to complete once every queue has raised the fence
  unsigned slots = 0;             ///< outstanding ring requests
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
[[nodiscard]] inline error violation(std::string_view text) {
  return make_error(errc::protocol_violation, text,
                    "the backend is faulty or malicious; the disk is disabled");
}

}  // namespace xenpv::blkfront
