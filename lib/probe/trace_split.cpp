#include "probe/trace_split.hpp"

#include <algorithm>

#include "base/words.hpp"

namespace xenpv::probe {
namespace {

/// Returns the word after `key`, up to the next blank.
std::string_view word_after(std::string_view text, std::string_view key) {
  const auto position = text.find(key);
  if (position == std::string_view::npos) return {};
  text.remove_prefix(position + key.size());
  return text.substr(0, text.find_first_of(blanks));
}

/// "<idle>-0       [001] d.h1." -> 1. Searches from the end, because a thread name may contain
/// brackets.
std::optional<unsigned> cpu_of(std::string_view head) {
  const auto open = head.rfind('[');
  if (open == std::string_view::npos) return std::nullopt;
  head.remove_prefix(open + 1);
  return parse_whole<unsigned>(head.substr(0, head.find(']')));
}

std::uint64_t count_of(std::chrono::nanoseconds time) {
  return static_cast<std::uint64_t>(time.count());
}

}  // namespace

std::optional<timer_expiry> parse_timer_expiry(std::string_view line) {
  constexpr std::string_view event = ": hrtimer_expire_entry: ";
  const auto position = line.find(event);
  if (position == std::string_view::npos) return std::nullopt;
  const auto fields = line.substr(position + event.size());
  const auto cpu = cpu_of(line.substr(0, position));
  const auto now = parse_whole<std::int64_t>(word_after(fields, "now="));
  const auto function = word_after(fields, "function=");
  if (!cpu || !now || function.empty()) return std::nullopt;
  return timer_expiry{*cpu, std::chrono::nanoseconds(*now), function};
}

timer_split split_wakes(const std::vector<periods::wake>& wakes,
                        const std::vector<std::chrono::nanoseconds>& interrupts) {
  timer_split out{};
  for (const auto& wake : wakes) {
    const auto interrupt = std::lower_bound(interrupts.begin(), interrupts.end(), wake.due);
    if (interrupt == interrupts.end() || *interrupt > wake.woke) {
      ++out.unmatched;
      continue;
    }
    out.hypervisor.add(count_of(*interrupt - wake.due));
    out.guest.add(count_of(wake.woke - *interrupt));
  }
  return out;
}

}  // namespace xenpv::probe
