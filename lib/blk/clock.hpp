// The clock for request times (blk/request.hpp): steady, in nanoseconds. A reading may cost a
// system call, or as much as a request where the hypervisor emulates the counter, so devices read
// it once per turn of the event loop.
#pragma once

#include <chrono>
#include <cstdint>

namespace xenpv::blk {

[[nodiscard]] inline std::uint64_t now_ns() noexcept {
  const std::chrono::nanoseconds since = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(since.count());
}

}  // namespace xenpv::blk
