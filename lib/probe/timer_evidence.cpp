#include "probe/timer_evidence.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "channels/channel_kind.hpp"
#include "channels/rates.hpp"

namespace xenpv::probe {
namespace {

void refute(timer_result& out, std::string reason) {
  out.verdict = probe_verdict::refuted;
  out.reasons.push_back(std::move(reason));
}

/// Every wake-up requires its own interrupt, because the next timer is set only after the wake-up.
void judge_counts(timer_result& out, const std::optional<std::uint64_t>& counted,
                  const std::string& row) {
  const auto needed = out.wake_ups + out.warm_up;
  if (!counted) {
    out.verdict = probe_verdict::unverified;
    out.reasons.push_back(fmt::format("no row {} to compare with", row));
    return;
  }
  const auto text = fmt::format("{} wake-ups, and row {} counted {}", needed, row, *counted);
  if (*counted < needed) return refute(out, text);
  out.reasons.push_back(text);
}

/// ARM guests have no PV timer: Xen virtualizes the CPU's generic timer (xen/arch/arm/vtimer.c),
/// and its private interrupt is counted on each CPU.
void judge_arm(timer_result& out) {
  const auto& evidence = out.evidence;
  if (!evidence.is_generic_timer() && !evidence.device.empty())
    return refute(out, fmt::format("the timer of CPU {} is '{}', not the CPU's generic timer",
                                   out.cpu, evidence.device));
  judge_counts(out, evidence.generic_events, "arch_timer");
}

void judge_pv(timer_result& out) {
  const auto& evidence = out.evidence;
  if (!evidence.is_pv_timer() && !evidence.device.empty())
    return refute(out, fmt::format("the timer of CPU {} is '{}', not the PV timer", out.cpu,
                                   evidence.device));
  judge_counts(out, evidence.timer_events, fmt::format("timer{}", out.cpu));
  if (evidence.timer_elsewhere.value_or(0) > 0)
    refute(out, fmt::format("other CPUs counted {} events of timer{}", *evidence.timer_elsewhere,
                            out.cpu));
  if (evidence.local_interrupts.value_or(0) > 0)
    refute(out, fmt::format("the local APIC timer (row LOC) fired {} times during the measurement",
                            *evidence.local_interrupts));
}

/// The secure and the nonsecure interrupt of the physical timer have rows of the same name
/// (drivers/clocksource/arm_arch_timer.c), so their counts are added. Returns nullopt if there is
/// no row.
std::optional<std::uint64_t> generic_timer_growth(const channels::interrupt_table& before,
                                                  const channels::interrupt_table& after,
                                                  unsigned cpu) {
  std::optional<std::uint64_t> sum;
  for (const auto& row : after.rows) {
    if (std::ranges::count(row.actions, "arch_timer") == 0) continue;
    if (const auto grown = channels::growth_on(before, after, row.label, cpu))
      sum = sum.value_or(0) + *grown;
  }
  return sum;
}

}  // namespace

void count_timers(const channels::interrupt_table& before, const channels::interrupt_table& after,
                  timer_result& out) {
  auto& evidence = out.evidence;
  evidence.is_arm = channels::is_arm(after);
  if (evidence.is_arm) {
    evidence.generic_events = generic_timer_growth(before, after, out.cpu);
    return;
  }
  evidence.local_interrupts = channels::growth_on(before, after, "LOC", out.cpu);
  const auto* row =
      channels::find_row(after, {.kind = channels::channel_kind::timer, .cpu = out.cpu});
  if (row == nullptr) return;
  const std::array here{out.cpu};
  if (const auto grown = channels::growth_of(before, after, *row->irq, here)) {
    evidence.timer_events = grown->there;
    evidence.timer_elsewhere = grown->elsewhere;
  }
}

void judge_timer(timer_result& out, timer_method method, bool on_xen) {
  out.verdict = probe_verdict::verified;
  if (method == timer_method::spin) {
    if (out.times.count() == 0) out.verdict = probe_verdict::failed;
    return;
  }
  if (out.wake_ups == 0) {
    out.verdict = probe_verdict::failed;
    out.reasons.emplace_back("no timer fired");
    return;
  }
  // Without the rows, the device shows the architecture.
  const bool is_arm = out.evidence.is_arm || out.evidence.is_generic_timer();
  if (is_arm && !on_xen)
    out.reasons.emplace_back("not a Xen guest: the evidence is from row arch_timer");
  if (is_arm) return judge_arm(out);
  if (on_xen) return judge_pv(out);
  out.reasons.emplace_back("not a Xen guest: the evidence is from row LOC");
  judge_counts(out, out.evidence.local_interrupts, "LOC");
}

void doubt_migrated(timer_result& out) {
  if (out.verdict == probe_verdict::verified) out.verdict = probe_verdict::unverified;
  out.reasons.emplace_back("the guest was migrated or restored during the measurement");
}

}  // namespace xenpv::probe
