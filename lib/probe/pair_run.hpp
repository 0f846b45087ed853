// The measured part of pair_probe: one or two pinned threads, with nothing but the events between
// the two clock reads. Does not set affinities or verify counts.
#pragma once

#include <chrono>

#include "probe/pair_probe.hpp"
#include "xenpv/base/histogram.hpp"
#include "xenpv/xen/event_channel.hpp"

namespace xenpv::probe {

struct pair_run {
  xen::event_channel_handle& sender;
  port sender_port;
  unsigned sender_cpu;
  xen::event_channel_handle& echo;
  port echo_port;
  unsigned echo_cpu;
  const pair_probe_options& options;
};

/// Waits for an event on port `expected` and unmasks the port. Throws errc::timed_out after
/// `timeout`.
void take_event(xen::event_channel_handle& handle, port expected, std::chrono::milliseconds timeout,
                bool spin);

/// Waits until all threads have exited, then rethrows the exception of one of them, if any.
void run_round_trips(const pair_run& run, histogram& round_trips);

}  // namespace xenpv::probe
