// Checks how events are distributed: whether movable channels are spread over the CPUs or are all
// on one CPU. They are all on one CPU if irqbalance is off and everything is pinned at boot, or if
// the balancer does not recognize Xen's rows: irqbalance before 1.6 does not recognize the rows of
// Linux 4.13 and newer (irqbalance#81); some later versions do not either (irqbalance#351).
//
// If one network queue has most events, moving it only swamps another CPU. More queues or RPS may
// help (xcp-ng/xcp#306, irqbalance#122; Documentation/networking/scaling.rst). Counts since boot do
// not show whether that CPU is busy, so they never justify a warning.
#include <algorithm>

#include "channels/balance.hpp"
#include "channels/rates.hpp"
#include "doctor/checks.hpp"

namespace xenpv::doctor {
namespace {

constexpr double uneven = 0.9;
/// Counts are spread if the busiest CPU has at most this multiple of its even share.
constexpr double nearly_even = 1.5;
/// Warn only if at least this share of the busiest CPU's events can be moved away. If one channel
/// has nearly all events, moving other channels changes little.
constexpr double worth_moving = 0.2;

struct movable {
  unsigned channels = 0;
  std::vector<std::uint64_t> events = {};   ///< one per column of the table
  std::vector<unsigned> allowed_cpus = {};  ///< union of all affinities, if all are known
  bool affinities_known = true;
  bool may_have_wrapped = false;
};

movable movable_of(const channels::inventory& all) {
  movable out;
  out.events.resize(all.cpus.size());
  for (const auto& channel : all.channels) {
    if (!channel.can_move()) continue;
    ++out.channels;
    channels::add_counts(out.events, channel.counts);
    out.may_have_wrapped |= channels::may_have_wrapped(channel.counts);
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

/// Returns the share of the busiest CPU's events that the balancer would move away, from 0 to 1.
/// Considers only the channels that can move.
double gain_of_moving(const channels::inventory& all) {
  auto input = channels::make_balance_input(all, channels::events_since_boot(all));
  const auto plan = channels::plan_balance(input, {});
  if (!plan) return 0;
  std::erase_if(input.channels,
                [](const channels::balance_channel& channel) { return !channel.can_move; });
  const auto busiest = [&](const std::vector<channels::planned_move>& moves) {
    const auto counts = channels::events_after(input, moves);
    return counts.empty() ? 0.0
                          : static_cast<double>(*std::max_element(counts.begin(), counts.end()));
  };
  const auto before = busiest({});
  return before == 0 ? 0.0 : 1 - busiest(*plan) / before;
}

/// Nearly every domain has a channel to xenstore, so a posted table without it may be an excerpt.
/// ARM domains that Xen itself started (dom0less) have none.
bool has_xenbus(const channels::inventory& all) {
  return std::ranges::any_of(all.channels, [](const channels::channel& channel) {
    return channel.kind == channels::channel_kind::xenbus;
  });
}

/// Returns the movable channel with the most events.
const channels::channel* busiest_channel(const channels::inventory& all) {
  const channels::channel* out = nullptr;
  for (const auto& channel : all.channels)
    if (channel.can_move() && (out == nullptr || channel.total() > out->total())) out = &channel;
  return out;
}

/// Returns the network device of a frontend's channel, whose interrupt has the name of the
/// interface ("eth0-q0-rx"), or vifN as long as the interface has no name ("vif0-q0-rx"). The
/// interrupt keeps an old name if the interface is renamed (eth0 to ens3). nullopt for other
/// channels, such as those of a physical interface (xen-pirq) and of backends ("vif3.0-q0-rx").
std::optional<std::string> network_of(const guest_snapshot& snapshot,
                                      const channels::channel& channel) {
  if (channel.kind != channels::channel_kind::device || !channel.chip.starts_with("xen-dyn"))
    return std::nullopt;
  const auto name = channel.name.substr(0, channel.name.find("-q"));
  for (const auto& network : snapshot.networks)
    if (network.name == name) return network.device;
  if (name.starts_with("vif") && name.find('.') == std::string::npos)
    return "vif-" + name.substr(3);
  if (!name.starts_with("eth") && !name.starts_with("enX")) return std::nullopt;
  return snapshot.networks.size() == 1 ? snapshot.networks.front().device : name;
}

/// Judges events that are nearly all on one CPU, because one channel has most of them.
void judge_single(const guest_snapshot& snapshot, unsigned cpu, double share,
                  check_result& result) {
  const auto* channel = busiest_channel(snapshot.channels);
  const auto text =
      fmt::format("{} of the events of movable channels went to CPU {}", share_text(share), cpu);
  const auto device = channel == nullptr ? std::nullopt : network_of(snapshot, *channel);
  if (!device) {
    result.summary = text + ", but moving channels would change little";
    return;
  }
  constexpr std::string_view improvement =
      "more queues (xen_netfront.max_queues, if the backend offers them) or RPS (write a CPU mask "
      "to /sys/class/net/*/queues/rx-*/rps_cpus) let other CPUs process packets";
  const auto network = std::ranges::find(snapshot.networks, *device, &network_interface::device);
  const bool is_known = network != snapshot.networks.end() && network->uses_rps.has_value();
  const auto summary = fmt::format("{}, most of them of {}", text, channel->name);
  if (is_known && *network->uses_rps)
    conclude(result, health::pass, summary + "; RPS lets other CPUs process its packets");
  else if (is_known)
    conclude(result, health::pass, summary + "; RPS is off: one CPU processes its packets",
             fmt::format("possible improvement, if that CPU is busy: {}", improvement));
  else
    conclude(result, health::pass, summary,
             fmt::format("possible improvement, if that CPU is busy and RPS is off (rps_cpus is "
                         "0): {}",
                         improvement));
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
  } else if (total < channels::enough_events) {
    result.summary =
        fmt::format("{} can move; {} are too few to judge their distribution",
                    counted(candidates.channels, "event channel"), counted(total, "event"));
  } else if (candidates.may_have_wrapped) {
    conclude(
        result, health::unknown,
        "the distribution of events cannot be determined: the 32-bit counters may have wrapped",
        "xenpv-evtchn watch measures events per second");
  } else if (const auto gain = gain_of_moving(snapshot.channels);
             share > uneven && gain > worth_moving) {
    cite(result, "xenpv-evtchn balance",
         fmt::format("would move {} of its events", share_text(gain)));
    conclude(
        result, health::warn,
        fmt::format("{} of the events of {} movable event channels went to CPU {}",
                    share_text(share), candidates.channels, busiest_cpu),
        snapshot.irqbalance_runs == true
            ? "irqbalance runs, but does not move these channels: update it, or stop it and use "
              "xenpv-evtchn balance --interval 10s --apply"
            : "xenpv-evtchn balance --interval 10s shows which channels to move; --apply moves "
              "them");
  } else if (share > uneven) {
    judge_single(snapshot, busiest_cpu, share, result);
  } else {
    const auto even = 1.0 / static_cast<double>(candidates.events.size());
    result.summary = fmt::format("the events of {} {}: {} of them went to the busiest CPU, CPU {}",
                                 counted(candidates.channels, "movable channel"),
                                 share <= even * nearly_even ? "are spread" : "are uneven",
                                 share_text(share), busiest_cpu);
    if (share > even * nearly_even)
      result.remedy =
          "xenpv-evtchn balance --interval 10s shows whether moving channels would help";
  }
}

}  // namespace

void check_spread(const guest_snapshot& snapshot, check_results& out) {
  if (!snapshot.from.interrupts.value || snapshot.channels.cpus.empty())
    return;  // row upcall reports this
  check_result result{.id = "spread"};
  const auto candidates = movable_of(snapshot.channels);
  const auto all = snapshot.channels.events_per_cpu();
  if (snapshot.channels.channels.empty())
    return add_unknown(out, "spread", "the distribution of events cannot be determined",
                       {"/proc/interrupts", "no row of an event channel"},
                       "the guest's complete /proc/interrupts shows it");
  if (snapshot.online.size() < 2) {
    conclude(result, health::pass, "one CPU: nothing to spread");
  } else if (snapshot.may_be_excerpt() && candidates.channels < 2 &&
             !has_xenbus(snapshot.channels)) {
    conclude(result, health::unknown,
             candidates.channels == 0
                 ? "/proc/interrupts may be an excerpt: it has no row of a channel that can move"
                 : "/proc/interrupts may be an excerpt: it has one row of a channel that can move",
             "the complete /proc/interrupts shows the distribution of events");
  } else if (candidates.channels == 0) {
    conclude(result, health::pass, "no event channel can move");
  } else if (snapshot.channels.delivery == channels::upcall::pci_interrupt) {
    conclude(result, health::fail, "all events go to one CPU and cannot move",
             "spreading events requires a callback vector: see row upcall");
  } else {
    judge_movable(snapshot, candidates, result);
  }
  cite(result, "/proc/interrupts, channels that can move, by CPU", counts_text(candidates.events));
  cite(result, "/proc/interrupts, all event channels, by CPU", counts_text(all));
  cite(result, "share of CPU 0", share_text(channels::share_of_cpu0(snapshot.channels.cpus, all)));
  if (snapshot.irqbalance_runs)
    cite(result, "irqbalance", *snapshot.irqbalance_runs ? "runs" : "does not run");
  if (candidates.channels > 0)
    cite(result, "/proc/irq/*/smp_affinity_list, combined",
         candidates.affinities_known ? cpus_text(candidates.allowed_cpus)
                                     : std::string("not all can be read"));
  out.push_back(std::move(result));
}

}  // namespace xenpv::doctor
