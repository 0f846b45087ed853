// Evidence that a measured CPU's own timer woke its thread, and the verdict on it (pure).
#pragma once

#include "channels/interrupts.hpp"
#include "probe/timer_probe.hpp"

namespace xenpv::probe {

/// Adds the increases of the counts on the result's CPU to its evidence.
void count_timers(const channels::interrupt_table& before, const channels::interrupt_table& after,
                  timer_result& out);

/// Compares the counts with the expected events: sets the verdict and adds its reasons.
void judge_timer(timer_result& out, timer_method method, bool on_xen);

/// Downgrades the verdict if the guest was migrated or restored during the measurement: its counts
/// then come from two hosts.
void doubt_migrated(timer_result& out);

}  // namespace xenpv::probe
