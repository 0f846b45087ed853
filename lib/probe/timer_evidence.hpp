// Evidence that each measured thread was woken by the timer of its own CPU, and the resulting
// verdict (pure).
#pragma once

#include "channels/interrupts.hpp"
#include "probe/timer_probe.hpp"

namespace xenpv::probe {

/// Adds the counter deltas for the result's CPU to the result's evidence.
void count_timers(const channels::interrupt_table& before, const channels::interrupt_table& after,
                  timer_result& out);

/// Compares the counts with the expected events, sets the verdict and adds the reasons.
void judge_timer(timer_result& out, timer_method method, bool on_xen);

/// Downgrades a verified result. Called if the guest was migrated or restored during the
/// measurement: its counts then come from two hosts.
void doubt_migrated(timer_result& out);

}  // namespace xenpv::probe
