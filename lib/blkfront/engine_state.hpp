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

/// A sector of which a write changes only a part: locked, read, changed, written, unlocked.
struct engine::merge {
  enum class stage : std::uint8_t { locking, to_read, reading, to_write, writing };

  blk::request* r;  ///< null: it timed out, and nobody waits any more
  stretch bytes;    ///< what changes, within the sector
  std::uint64_t sector;
  blk::page_chain page = {};
  stage at = stage::locking;
};

/// An abandoned lease's pages, kept until the last ring request that names them is answered.
struct engine::orphan_pages {
  blk::page_chain pages;
  unsigned slots = 0;
};

[[nodiscard]] inline std::error_code io_error() noexcept {
  return std::make_error_code(std::errc::io_error);
}
[[nodiscard]] inline std::error_code not_supported() noexcept {
  return std::make_error_code(std::errc::operation_not_supported);
}

}  // namespace xenpv::blkfront
