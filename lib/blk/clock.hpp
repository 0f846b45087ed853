// The clock for request times (blk/request.hpp): steady, in nanoseconds. Reading it can require a
// system call, and can take as long as a request if the hypervisor emulates the counter. Devices
// therefore read it once per iteration of the event loop.
#pragma once

#include <chrono>
#include <cstdint>

namespace xenpv::blk {

[[nodiscard]] inline std::uint64_t now_ns() noexcept {
  const std::chrono::nanoseconds since = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(since.count());
}

}  // namespace xenpv::blk
