// Checks the kernel's messages about clocks: unstable clocksources, jumps, and a requested
// clocksource that is not used. Adds one row, and only if there is such a message.
//
// Sources: kernel/time/clocksource.c and timekeeping.c; qubes-issues#2044, #5988, #7404.
#include "base/words.hpp"
#include "doctor/log_lines.hpp"

namespace xenpv::doctor {
namespace {

std::string requested_clocksource(const guest_snapshot& snapshot) {
  constexpr std::string_view option = "clocksource=";
  std::string_view rest =
      snapshot.command_line ? std::string_view(*snapshot.command_line) : std::string_view();
  std::string out;
  while (const auto word = next_word(rest))
    if (word->starts_with(option)) out = std::string(word->substr(option.size()));
  return out;
}

void check_clock_messages(const guest_snapshot& snapshot, check_results& out) {
  const auto overflows = lines_with(snapshot, [](std::string_view line) {
    return contains(line, "Cycle offset") && contains(line, "larger than allowed");
  });
  const auto unstable = lines_with(snapshot, [](std::string_view line) {
    return contains(line, "Marking") && contains(line, "unstable");
  });
  const auto requested = requested_clocksource(snapshot);
  const auto& current = snapshot.clock.clocksource;
  const bool is_ignored = !requested.empty() && current && *current != requested;
  if (overflows.empty() && unstable.empty() && !is_ignored) return;
  check_result result{.id = "log-clock"};
  if (is_ignored) {
    conclude(
        result, health::warn,
        fmt::format("the kernel was told to use the clocksource {}, but uses {}", requested,
                    *current),
        unstable.empty()
            ? "the clocksource is not available (see row clocksource), or was changed later"
            : "the kernel found it unstable: remove clocksource= from the kernel command line");
  } else if (!overflows.empty()) {
    conclude(result, health::warn,
             "the clock jumped further than the kernel can handle, which happens after a pause, "
             "suspend or migration: time may have been wrong",
             "update the kernel, and check that the time is synchronized");
  } else {
    conclude(result, health::pass,
             fmt::format("the kernel found a clocksource unstable and stopped using it{}",
                         current ? "; it now uses " + *current : std::string()));
  }
  if (is_ignored) cite(result, "/proc/cmdline", "clocksource=" + requested);
  cite_lines(result, overflows);
  cite_lines(result, unstable);
  if (current)
    cite(result, "/sys/devices/system/clocksource/clocksource0/current_clocksource", *current);
  out.push_back(std::move(result));
}

}  // namespace

void check_log_clock(const guest_snapshot& snapshot, check_results& out) {
  check_clock_messages(snapshot, out);
}

}  // namespace xenpv::doctor
