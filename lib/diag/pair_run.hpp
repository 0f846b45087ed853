// The measured part of pair_probe: two pinned threads, or one, and nothing else between the clock's
// two readings than the events. Places and verifies nothing.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "xenpv/base/histogram.hpp"
#include "xenpv/xen/event_channel.hpp"

namespace xenpv::diag {

struct pair_run {
  xen::event_channel_handle& sender;
  port sender_port;
  unsigned sender_cpu;
  xen::event_channel_handle& echo;
  port echo_port;
  unsigned echo_cpu;
  std::uint32_t count;
  std::uint32_t warm_up;
  bool spin;
  std::optional<int> fifo_priority;
  std::chrono::milliseconds patience;
};

/// Waits for `wanted` on its handle and unmasks it. Throws errc::timed_out after `patience`.
void take_event(xen::event_channel_handle& handle, port wanted, std::chrono::milliseconds patience,
                bool spin);

/// Throws what either thread threw, after both have ended.
void run_round_trips(const pair_run& how, histogram& round_trips);

}  // namespace xenpv::diag
