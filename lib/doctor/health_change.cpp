#include "doctor/health_change.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "base/enum_name.hpp"
#include "base/parse.hpp"

namespace xenpv::doctor {
namespace {

void compare_guest(const guest_summary& before, const guest_summary& after, comparison& out) {
  const auto compare_text = [&](std::string_view name, const std::string& old_text,
                                const std::string& new_text) {
    if (old_text != new_text)
      out.changes.push_back({change_sense::different, std::string(name), old_text, new_text});
  };
  if (!before.name.empty() && !after.name.empty())
    compare_text("guest name", before.name, after.name);
  compare_text("guest type", before.type, after.type);
  compare_text("Xen", before.xen_version, after.xen_version);
  compare_text("kernel", before.kernel, after.kernel);
  compare_text("upcall", before.upcall, after.upcall);
  compare_text("event ABI", before.event_abi, after.event_abi);
  compare_text("clocksource", before.clocksource, after.clocksource);
  compare_text("clock event device", before.clockevent, after.clockevent);
}

const check_result* find(const std::vector<check_result>& all, const std::string& id) {
  const auto it = std::ranges::find(all, id, &check_result::id);
  return it == all.end() ? nullptr : &*it;
}

std::string row_text(const check_result& result) {
  return fmt::format("{}: {}", to_string(result.verdict), result.summary);
}

/// A change from or to unknown is neither better nor worse.
change_sense sense_of(health before, health after) {
  if (before == health::unknown || after == health::unknown) return change_sense::different;
  return after > before ? change_sense::worse : change_sense::better;
}

void compare_rows(const health_report& before, const health_report& after, comparison& out) {
  for (const auto& now : after.check_results) {
    const auto* then = find(before.check_results, now.id);
    if (then == nullptr)
      out.changes.push_back({change_sense::different, "row " + now.id, "", row_text(now)});
    else if (then->verdict != now.verdict)
      out.changes.push_back(
          {sense_of(then->verdict, now.verdict), "row " + now.id, row_text(*then), row_text(now)});
  }
  for (const auto& then : before.check_results)
    if (find(after.check_results, then.id) == nullptr)
      out.changes.push_back({change_sense::different, "row " + then.id, row_text(then), ""});
}

std::string range_text(const probe::percentile_range& range) {
  return fmt::format("{} ({} to {})", format_nanoseconds(range.value),
                     format_nanoseconds(range.low), format_nanoseconds(range.high));
}

/// Memory layout and thread history differ between two runs of a program and change its figures by
/// up to this share. The rounds of a single run do not show this variation.
bool differ(std::uint64_t before, std::uint64_t after) {
  constexpr double between_runs = 0.05;
  const auto then = static_cast<double>(before);
  const auto now = static_cast<double>(after);
  return std::abs(now - then) > between_runs * then;
}

void compare_figures(const std::string& subject, const probe::latency_figures& before,
                     const probe::latency_figures& after, comparison& out) {
  constexpr std::array<std::pair<double, const char*>, 2> percentiles = {
      {{0.5, "p50"}, {0.99, "p99"}}};
  for (const auto& [share, name] : percentiles) {
    const auto then = probe::range_of(before, share);
    const auto now = range_of(after, share);
    if (!then || !now) {
      out.not_compared.push_back(fmt::format("{}, {}: too few samples ({} and {})", subject, name,
                                             before.summary.samples, after.summary.samples));
      continue;
    }
    ++out.compared;
    const bool is_apart = differ(then->value, now->value);
    const bool is_above = is_apart && now->low > then->high;
    const bool is_below = is_apart && now->high < then->low;
    if (!is_above && !is_below) {
      ++out.within_noise;
      continue;
    }
    out.changes.push_back({is_above ? change_sense::worse : change_sense::better,
                           fmt::format("{}, {}", subject, name), range_text(*then),
                           range_text(*now)});
  }
}

/// Returns false if either measurement failed or was refuted by the counts, because its times may
/// belong to other events.
bool is_usable(const std::string& subject, const std::string& before, const std::string& after,
               comparison& out) {
  const auto is_good = [](const std::string& verdict) {
    return verdict == "verified" || verdict == "unverified";
  };
  if (is_good(before) && is_good(after)) return true;
  out.not_compared.push_back(fmt::format("{}: {} before, {} after", subject, before, after));
  return false;
}

void compare_measured(const measurement& before, const measurement& after, comparison& out) {
  if (before.interval_ns != after.interval_ns || before.scheduling != after.scheduling) {
    out.not_compared.push_back(
        fmt::format("timers and IPIs: measured with different settings ({} every {}, {} every {})",
                    before.scheduling, format_nanoseconds(before.interval_ns), after.scheduling,
                    format_nanoseconds(after.interval_ns)));
    return;
  }
  std::map<unsigned, const measured_timer*> timers;
  for (const auto& then : before.timers)
    timers.emplace(then.cpu, &then);
  for (const auto& now : after.timers) {
    const auto then = timers.find(now.cpu);
    if (then == timers.end()) continue;
    const auto subject = fmt::format("timer of CPU {}", now.cpu);
    if (is_usable(subject, then->second->verdict, now.verdict, out))
      compare_figures(subject, then->second->late, now.late, out);
  }
  std::map<std::pair<unsigned, unsigned>, const measured_ipi*> pairs;
  for (const auto& then : before.ipis)
    pairs.emplace(std::pair(then.from, then.to), &then);
  for (const auto& now : after.ipis) {
    const auto then = pairs.find({now.from, now.to});
    if (then == pairs.end()) continue;
    const auto subject = fmt::format("IPI from CPU {} to CPU {}", now.from, now.to);
    if (is_usable(subject, then->second->verdict, now.verdict, out))
      compare_figures(subject, then->second->round_trips, now.round_trips, out);
  }
}

}  // namespace

std::string_view to_string(change_sense sense) noexcept {
  return enum_name<change_sense::different>(sense, "worse", "better", "different");
}

bool comparison::got_worse() const noexcept {
  return std::ranges::count(changes, change_sense::worse, &health_change::sense) > 0;
}

comparison compare(const health_report& before, const health_report& after) {
  comparison out;
  compare_guest(before.guest, after.guest, out);
  compare_rows(before, after, out);
  if (before.measured && after.measured)
    compare_measured(*before.measured, *after.measured, out);
  else
    out.not_compared.emplace_back("timers and IPIs: both reports must be made with --measure");
  std::ranges::stable_sort(out.changes, {}, &health_change::sense);
  return out;
}

}  // namespace xenpv::doctor
