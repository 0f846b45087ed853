// Checks how events are distributed: whether movable channels are spread over the CPUs or are all
// on one CPU. They are all on one CPU if irqbalance is off and everything is pinned at boot, or if
// the balancer does not recognize Xen's rows.
#include <algorithm>

#include "channels/balance.hpp"
#include "channels/rates.hpp"
#include "doctor/checks.hpp"

namespace xenpv::doctor {
namespace {

/// With fewer events since boot, the distribution does not matter.
constexpr std::uint64_t enough_events = 10'000;
constexpr double uneven = 0.9;
/// Warn only if at least this share of the busiest CPU's events can be moved away. If one channel
/// has nearly all events, moving other channels changes little.
constexpr double worth_moving = 0.2;

struct movable {
  unsigned channels = 0;
  std::vector<std::uint64_t> events = {};   ///< one per column of the table
  std::vector<unsigned> allowed_cpus = {};  ///< union of all affinities, if all are known
  bool affinities_known = true;
};

movable movable_of(const channels::inventory& all) {
  movable out;
  out.events.resize(all.cpus.size());
  for (const auto& channel : all.channels) {
    if (!channel.can_move()) continue;
    ++out.channels;
    channels::add_counts(out.events, channel.counts);
    // Use the allowed CPUs, which the user sets; the effective CPU may be the kernel's choice.
    const auto& allowed = channel.allowed;
    if (!allowed)
      out.affinities_known = false;
    else
      out.allowed_cpus.insert(out.allowed_cpus.end(), allowed->value.begin(), allowed->value.end());
  }
  std::sort(out.allowed_cpus.begin(), out.allowed_cpus.end());
  out.allowed_cpus.erase(std::unique(out.allowed_cpus.begin(), out.allowed_cpus.end()),
                         out.allowed_cpus.end());
  return out;
}

/// Returns the share of the busiest CPU's events that the balancer could move away, from 0 to 1.
double gain_of_moving(const channels::inventory& all) {
  std::map<unsigned, std::uint64_t> events;
  for (const auto& channel : all.channels)
    if (channel.irq) events.emplace(*channel.irq, channel.total());
  auto input = channels::make_balance_input(all, events);
  std::erase_if(input.channels,
                [](const channels::balance_channel& channel) { return !channel.can_move; });
  const auto plan = channels::plan_balance(input, {});
  if (!plan) return 0;
  const auto busiest = [&](const std::vector<channels::planned_move>& moves) {
    const auto counts = channels::events_after(input, moves);
    return counts.empty() ? 0.0
                          : static_cast<double>(*std::max_element(counts.begin(), counts.end()));
  };
  const auto before = busiest({});
  return before == 0 ? 0.0 : 1 - busiest(*plan) / before;
}

void judge_movable(const guest_snapshot& snapshot, const movable& candidates,
                   check_result& result) {
  const auto total = channels::sum_of(candidates.events);
  const auto busiest = std::max_element(candidates.events.begin(), candidates.events.end());
  const auto busiest_cpu =
      snapshot.channels.cpus[static_cast<std::size_t>(busiest - candidates.events.begin())];
  const auto share = total == 0 ? 0.0 : static_cast<double>(*busiest) / static_cast<double>(total);
  result.verdict = health::pass;
  if (candidates.affinities_known && candidates.allowed_cpus.size() == 1 &&
      candidates.channels > 1) {
    conclude(result, health::warn,
             fmt::format("all {} movable event channels are restricted to CPU {}",
                         candidates.channels, candidates.allowed_cpus.front()),
             fmt::format("for i in /proc/irq/*/smp_affinity_list; do echo {} > $i; done; then "
                         "xenpv-evtchn balance --apply",
                         cpus_text(snapshot.online)));
  } else if (total < enough_events) {
    result.summary = fmt::format(
        "{} event channels are movable; {} events are too few to judge their distribution",
        candidates.channels, total);
  } else if (const auto gain = gain_of_moving(snapshot.channels);
             share > uneven && gain > worth_moving) {
    cite(result, "xenpv-evtchn balance",
         fmt::format("would move {} of its events", share_text(gain)));
    conclude(result, health::warn,
             fmt::format("{} of the events of {} movable event channels went to CPU {}",
                         share_text(share), candidates.channels, busiest_cpu),
             "xenpv-evtchn balance shows which channels to move; --apply moves them");
  } else if (share > uneven) {
    result.summary = fmt::format(
        "{} of the events of movable channels went to CPU {}, but moving channels would change "
        "little",
        share_text(share), busiest_cpu);
  } else {
    result.summary = fmt::format(
        "the events of {} movable channels are spread: {} of them went to the busiest CPU, CPU {}",
        candidates.channels, share_text(share), busiest_cpu);
  }
}

}  // namespace

void check_spread(const guest_snapshot& snapshot, check_results& out) {
  if (!snapshot.from.interrupts.value || snapshot.channels.cpus.empty())
    return;  // row upcall reports this
  check_result result{.id = "spread"};
  const auto candidates = movable_of(snapshot.channels);
  const auto all = snapshot.channels.events_per_cpu();
  if (snapshot.online.size() < 2 || candidates.channels == 0) {
    conclude(result, health::pass,
             candidates.channels == 0 ? "no event channel can move" : "one CPU: nothing to spread");
  } else if (snapshot.channels.delivery == channels::upcall::pci_interrupt) {
    conclude(result, health::fail, "all events go to one CPU and cannot move",
             "spreading events requires a callback vector: see row upcall");
  } else {
    judge_movable(snapshot, candidates, result);
  }
  cite(result, "/proc/interrupts, channels that can move, by CPU", counts_text(candidates.events));
  cite(result, "/proc/interrupts, all event channels, by CPU", counts_text(all));
  cite(result, "share of CPU 0", share_text(channels::share_of_cpu0(snapshot.channels.cpus, all)));
  if (candidates.channels > 0)
    cite(result, "/proc/irq/*/smp_affinity_list, combined",
         candidates.affinities_known ? cpus_text(candidates.allowed_cpus)
                                     : std::string("not all can be read"));
  out.push_back(std::move(result));
}

}  // namespace xenpv::doctor
