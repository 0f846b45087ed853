// The clock of a request's times (blk/request.hpp): steady, in nanoseconds. One look may cost a
// system call, or where the hypervisor emulates the counter as much as a request: devices look once
// for all of a turn.
#pragma once

#include <chrono>
#include <cstdint>

namespace xenpv::blk {

[[nodiscard]] inline std::uint64_t now_ns() noexcept {
  const std::chrono::nanoseconds since = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(since.count());
}

}  // namespace xenpv::blk
