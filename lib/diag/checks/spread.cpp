// Where events go: whether what can move is spread over the CPUs, or all on one, as after a boot
// with irqbalance off and everything pinned, or under a balancer that does not know Xen's rows.
#include <algorithm>

#include "diag/checks.hpp"
#include "xenpv/diag/balance.hpp"
#include "xenpv/diag/rates.hpp"

namespace xenpv::diag {
namespace {

/// With fewer events since the boot it does not matter where they went.
constexpr std::uint64_t enough_events = 10'000;
constexpr double uneven = 0.9;
/// Of the busiest CPU's events; where one channel has nearly all, moving others changes little.
constexpr double worth_moving = 0.2;

struct movable {
  unsigned channels = 0;
  std::vector<std::uint64_t> events = {};  ///< by column of the table
  std::vector<unsigned> only_cpus = {};    ///< union of all affinities, if all are known
  bool affinities_known = true;
};

movable movable_of(const inventory& all) {
  movable out;
  out.events.resize(all.cpus.size());
  for (const auto& each : all.channels) {
    if (!each.can_move()) continue;
    ++out.channels;
    for (std::size_t i = 0; i < each.counts.size() && i < out.events.size(); ++i)
      out.events[i] += each.counts[i];
    // What may go anywhere is where the kernel put it; what it is allowed is somebody's wish.
    const auto& allowed = each.allowed;
    if (!allowed)
      out.affinities_known = false;
    else
      out.only_cpus.insert(out.only_cpus.end(), allowed->value.begin(), allowed->value.end());
  }
  std::sort(out.only_cpus.begin(), out.only_cpus.end());
  out.only_cpus.erase(std::unique(out.only_cpus.begin(), out.only_cpus.end()), out.only_cpus.end());
  return out;
}

std::uint64_t sum_of(const std::vector<std::uint64_t>& events) {
  std::uint64_t sum = 0;
  for (const auto each : events)
    sum += each;
  return sum;
}

/// Which part of the busiest CPU's events the balancer could take from it, 0 to 1.
double gain_of_moving(const inventory& all) {
  std::map<unsigned, std::uint64_t> events;
  for (const auto& each : all.channels)
    if (each.irq) events.emplace(*each.irq, each.total());
  auto input = make_balance_input(all, events);
  std::erase_if(input.channels, [](const balance_channel& each) { return !each.can_move; });
  const auto plan = plan_balance(input, {});
  if (!plan) return 0;
  const auto busiest = [&](const std::vector<planned_move>& moves) {
    const auto counts = events_after(input, moves);
    return counts.empty() ? 0.0
                          : static_cast<double>(*std::max_element(counts.begin(), counts.end()));
  };
  const auto before = busiest({});
  return before == 0 ? 0.0 : 1 - busiest(*plan) / before;
}

void judge_movable(const examination& of, const movable& what, finding& found) {
  const auto total = sum_of(what.events);
  const auto busiest = std::max_element(what.events.begin(), what.events.end());
  const auto busiest_cpu =
      of.channels.cpus[static_cast<std::size_t>(busiest - what.events.begin())];
  const auto share = total == 0 ? 0.0 : static_cast<double>(*busiest) / static_cast<double>(total);
  found.verdict = health::pass;
  if (what.affinities_known && what.only_cpus.size() == 1 && what.channels > 1) {
    found.verdict = health::warn;
    found.summary = fmt::format("all {} event channels that could move may only go to CPU {}",
                                what.channels, what.only_cpus.front());
    found.cure = fmt::format(
        "for i in /proc/irq/*/smp_affinity_list; do echo {} > $i; done; then "
        "xenpv-evtchn balance --apply",
        cpus_text(of.online));
  } else if (total < enough_events) {
    found.summary = fmt::format(
        "{} event channels could move; {} events are too few to judge where "
        "they go",
        what.channels, total);
  } else if (const auto gain = gain_of_moving(of.channels); share > uneven && gain > worth_moving) {
    cite(found, "xenpv-evtchn balance", fmt::format("would take {} from it", share_text(gain)));
    found.verdict = health::warn;
    found.summary =
        fmt::format("{} of the events of {} event channels that could move went to CPU {}",
                    share_text(share), what.channels, busiest_cpu);
    found.cure = "xenpv-evtchn balance shows which to move, and --apply moves them";
  } else if (share > uneven) {
    found.summary = fmt::format(
        "{} of the events that could go elsewhere went to CPU {}, and moving channels would not "
        "change much",
        share_text(share), busiest_cpu);
  } else {
    found.summary = fmt::format(
        "events of {} channels that could move are spread: {} of them on the busiest CPU, {}",
        what.channels, share_text(share), busiest_cpu);
  }
}

}  // namespace

void check_spread(const examination& of, findings& out) {
  if (!of.from.interrupts.value || of.channels.cpus.empty()) return;  // said of upcall
  finding found{.id = "spread"};
  const auto what = movable_of(of.channels);
  const auto all = of.channels.events_per_cpu();
  if (of.online.size() < 2 || what.channels == 0) {
    found.verdict = health::pass;
    found.summary =
        what.channels == 0 ? "no event channel could move" : "one CPU: nothing to spread";
  } else if (of.channels.delivery == upcall::pci_interrupt) {
    found.verdict = health::fail;
    found.summary = "all events go to one CPU and cannot move";
    found.cure = "only a callback vector changes that: see upcall";
  } else {
    judge_movable(of, what, found);
  }
  cite(found, "/proc/interrupts, channels that can move, by CPU", counts_text(what.events));
  cite(found, "/proc/interrupts, all event channels, by CPU", counts_text(all));
  cite(found, "share of CPU 0", share_text(share_of_cpu0(of.channels.cpus, all)));
  if (what.channels > 0)
    cite(found, "/proc/irq/*/smp_affinity_list, together",
         what.affinities_known ? cpus_text(what.only_cpus) : std::string("not all can be read"));
  out.push_back(std::move(found));
}

}  // namespace xenpv::diag
