#include "xenpv/diag/health_change.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "xenpv/base/parse.hpp"

namespace xenpv::diag {
namespace {

void compare_guest(const guest_words& before, const guest_words& after, comparison& out) {
  const auto word = [&](std::string_view name, const std::string& one, const std::string& other) {
    if (one != other)
      out.changes.push_back({change_sense::different, std::string(name), one, other});
  };
  word("type of guest", before.type, after.type);
  word("Xen", before.xen_version, after.xen_version);
  word("kernel", before.kernel, after.kernel);
  word("upcall", before.upcall, after.upcall);
  word("event ABI", before.event_abi, after.event_abi);
  word("clocksource", before.clocksource, after.clocksource);
  word("clock event device", before.clockevent, after.clockevent);
}

const finding* find(const std::vector<finding>& all, const std::string& id) {
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const finding& each) { return each.id == id; });
  return found == all.end() ? nullptr : &*found;
}

std::string row_text(const finding& of) {
  return fmt::format("{}: {}", to_string(of.verdict), of.summary);
}

/// A row that cannot be seen any more is neither better nor worse.
change_sense sense_of(health before, health after) {
  if (before == health::unknown || after == health::unknown) return change_sense::different;
  return after > before ? change_sense::worse : change_sense::better;
}

void compare_rows(const health_report& before, const health_report& after, comparison& out) {
  for (const auto& now : after.findings) {
    const auto* then = find(before.findings, now.id);
    if (then == nullptr)
      out.changes.push_back({change_sense::different, "row " + now.id, "", row_text(now)});
    else if (then->verdict != now.verdict)
      out.changes.push_back(
          {sense_of(then->verdict, now.verdict), "row " + now.id, row_text(*then), row_text(now)});
  }
  for (const auto& then : before.findings)
    if (find(after.findings, then.id) == nullptr)
      out.changes.push_back({change_sense::different, "row " + then.id, row_text(then), ""});
}

std::string range_text(const percentile_range& of) {
  return fmt::format("{} ({} to {})", format_nanoseconds(of.value), format_nanoseconds(of.low),
                     format_nanoseconds(of.high));
}

/// A program that is started anew has its memory elsewhere, and its threads another past: that much
/// is between any two runs, and the rounds of one run do not show it.
bool differ(std::uint64_t before, std::uint64_t after) {
  constexpr double between_runs = 0.05;
  const auto then = static_cast<double>(before);
  const auto now = static_cast<double>(after);
  return std::abs(now - then) > between_runs * then;
}

void compare_figures(const std::string& what, const latency_figures& before,
                     const latency_figures& after, comparison& out) {
  constexpr std::array<std::pair<double, const char*>, 2> percentiles = {
      {{0.5, "p50"}, {0.99, "p99"}}};
  for (const auto& [share, name] : percentiles) {
    const auto then = range_of(before, share);
    const auto now = range_of(after, share);
    if (!then || !now) {
      out.not_compared.push_back(fmt::format("{}, {}: too few samples ({} and {})", what, name,
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
                           fmt::format("{}, {}", what, name), range_text(*then), range_text(*now)});
  }
}

/// Times that the counts do not bear out are of something else.
bool is_usable(const std::string& what, const std::string& before, const std::string& after,
               comparison& out) {
  const auto is_good = [](const std::string& verdict) {
    return verdict == "verified" || verdict == "unverified";
  };
  if (is_good(before) && is_good(after)) return true;
  out.not_compared.push_back(fmt::format("{}: {} before, {} after", what, before, after));
  return false;
}

void compare_measured(const measurement& before, const measurement& after, comparison& out) {
  if (before.interval_ns != after.interval_ns || before.scheduling != after.scheduling) {
    out.not_compared.push_back(
        fmt::format("timers and IPIs: measured in different ways ({} every {}, {} every {})",
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
    const auto what = fmt::format("timer of CPU {}", now.cpu);
    if (is_usable(what, then->second->verdict, now.verdict, out))
      compare_figures(what, then->second->late, now.late, out);
  }
  std::map<std::pair<unsigned, unsigned>, const measured_ipi*> pairs;
  for (const auto& then : before.ipis)
    pairs.emplace(std::pair(then.from, then.to), &then);
  for (const auto& now : after.ipis) {
    const auto then = pairs.find({now.from, now.to});
    if (then == pairs.end()) continue;
    const auto what = fmt::format("IPI from CPU {} to CPU {}", now.from, now.to);
    if (is_usable(what, then->second->verdict, now.verdict, out))
      compare_figures(what, then->second->round_trips, now.round_trips, out);
  }
}

}  // namespace

std::string_view to_string(change_sense sense) noexcept {
  switch (sense) {
    case change_sense::worse:
      return "worse";
    case change_sense::better:
      return "better";
    case change_sense::different:
      return "different";
  }
  return "invalid";
}

bool comparison::got_worse() const noexcept {
  return std::any_of(changes.begin(), changes.end(),
                     [](const health_change& each) { return each.sense == change_sense::worse; });
}

comparison compare(const health_report& before, const health_report& after) {
  comparison out;
  compare_guest(before.guest, after.guest, out);
  compare_rows(before, after, out);
  if (before.measured && after.measured)
    compare_measured(*before.measured, *after.measured, out);
  else
    out.not_compared.emplace_back(
        "timers and IPIs: both reports have to be made with --measure for that");
  std::stable_sort(
      out.changes.begin(), out.changes.end(),
      [](const health_change& a, const health_change& b) { return a.sense < b.sense; });
  return out;
}

}  // namespace xenpv::diag
