// What proves of a measured CPU that it was its timer, and what it says (pure).
#pragma once

#include "xenpv/diag/interrupts.hpp"
#include "xenpv/diag/timer_probe.hpp"

namespace xenpv::diag {

/// What the rows of the result's CPU grew by, into its evidence.
void count_timers(const interrupt_table& before, const interrupt_table& after, timer_result& out);

/// Compares what was counted with what was to happen: sets the verdict and adds its reasons.
void judge_timer(timer_result& out, timer_method method, bool on_xen);

/// The guest was migrated or restored meanwhile: what was counted is of two hosts.
void doubt_migrated(timer_result& out);

}  // namespace xenpv::diag
