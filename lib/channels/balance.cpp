#include "channels/balance.hpp"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <optional>
#include <set>

#include "base/parse.hpp"
#include "base/words.hpp"
#include "channels/irq_files.hpp"
#include "xenpv/async/cpu_set.hpp"

namespace xenpv::channels {
namespace {

using loads = std::map<unsigned, std::uint64_t>;

error bad_policy(std::string_view text) {
  return make_error(errc::invalid_argument, fmt::format("policy '{}'", text),
                    "expected spread, numa, or pin:NAME=CPUS;NAME=CPUS, such as pin:vif*=0-3");
}

result<std::vector<pin_rule>> parse_pins(std::string_view text, std::string_view whole_text) {
  std::vector<pin_rule> out;
  for (const auto rule : split(text, ';')) {
    const auto equals = rule.rfind('=');
    if (equals == std::string_view::npos || equals == 0) return bad_policy(whole_text);
    auto cpus = async::parse_cpu_list(rule.substr(equals + 1));
    if (!cpus) return cpus.error();
    out.push_back({std::string(rule.substr(0, equals)), std::move(*cpus)});
  }
  return out;
}

double percent(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : 100 * static_cast<double>(part) / static_cast<double>(whole);
}

/// Balances the channels within one group of CPUs: either all CPUs or the CPUs of one NUMA node.
class group_balancer {
 public:
  group_balancer(std::vector<unsigned> cpus, std::vector<balance_channel*> channels)
      : cpus_(std::move(cpus)), channels_(std::move(channels)) {
    for (const auto cpu : cpus_)
      loads_[cpu] = 0;
    for (const auto* channel : channels_) {
      loads_[channel->cpu] += channel->events;
      total_ += channel->events;
    }
    min_gain_ = cpus_.empty() ? 0 : total_ / cpus_.size() / 20;
  }

  /// Moves one channel and returns it with the reason for the move. Returns nullopt if no move
  /// gains enough.
  std::optional<std::pair<balance_channel*, std::string>> step() {
    auto by_load = cpus_;
    std::stable_sort(by_load.begin(), by_load.end(),
                     [this](unsigned a, unsigned b) { return loads_[a] > loads_[b]; });
    const auto idlest = by_load.back();
    // If the busiest CPU has no channel worth moving, such as a single large one, try the next
    // busiest.
    for (const auto busy : by_load) {
      auto* best = best_to_move(busy, idlest);
      if (best == nullptr) continue;
      auto reason =
          fmt::format("CPU {} receives {:.0f} % of the events, CPU {} receives {:.0f} %", busy,
                      percent(loads_[busy], total_), idlest, percent(loads_[idlest], total_));
      loads_[busy] -= best->events;
      loads_[idlest] += best->events;
      best->cpu = idlest;
      return std::pair(best, std::move(reason));
    }
    return std::nullopt;
  }

 private:
  /// Returns the channel whose move minimizes the higher load of the two CPUs, or nullptr if no
  /// move gains enough.
  balance_channel* best_to_move(unsigned busy, unsigned idlest) {
    balance_channel* best = nullptr;
    auto best_peak = loads_[busy];
    for (auto* channel : channels_) {
      if (!channel->can_move || channel->cpu != busy || channel->events == 0) continue;
      const auto peak = std::max(loads_[busy] - channel->events, loads_[idlest] + channel->events);
      if (peak < best_peak) {
        best = channel;
        best_peak = peak;
      }
    }
    return loads_[busy] - best_peak > min_gain_ ? best : nullptr;
  }

  std::vector<unsigned> cpus_;
  std::vector<balance_channel*> channels_;
  loads loads_;
  std::uint64_t total_ = 0;
  std::uint64_t min_gain_ = 0;
};

/// Lists the channels whose CPU differs between `before` and `after`, each with the reason for its
/// last move.
std::vector<planned_move> moves_between(const balance_input& before,
                                        const std::vector<balance_channel>& after,
                                        const std::map<unsigned, std::string>& reasons) {
  std::vector<planned_move> out;
  for (std::size_t i = 0; i < after.size(); ++i) {
    const auto& previous = before.channels[i];
    if (previous.cpu == after[i].cpu) continue;
    out.push_back({.irq = previous.irq,
                   .name = previous.name,
                   .from = previous.cpu,
                   .to = after[i].cpu,
                   .events = previous.events,
                   .reason = reasons.at(previous.irq)});
  }
  std::ranges::sort(out, {}, &planned_move::irq);
  return out;
}

std::vector<std::vector<unsigned>> groups_of(const balance_input& input, bool by_node) {
  if (!by_node) return {input.cpus};
  std::map<unsigned, std::vector<unsigned>> nodes;
  for (const auto cpu : input.cpus)
    if (const auto node = input.nodes.find(cpu); node != input.nodes.end())
      nodes[node->second].push_back(cpu);
  std::vector<std::vector<unsigned>> out;
  out.reserve(nodes.size());
  for (auto& [node, cpus] : nodes)
    out.push_back(std::move(cpus));
  return out;
}

std::vector<planned_move> plan_spread(const balance_input& input, bool by_node) {
  auto channels = input.channels;
  std::map<unsigned, std::string> reasons;
  for (const auto& cpus : groups_of(input, by_node)) {
    const std::set<unsigned> members(cpus.begin(), cpus.end());
    std::vector<balance_channel*> group;
    for (auto& channel : channels)
      if (members.contains(channel.cpu)) group.push_back(&channel);
    if (cpus.size() < 2) continue;
    group_balancer balancer(cpus, group);
    // Each step lowers a peak load; the bound only guards against an endless loop.
    for (std::size_t i = 0; i < 4 * group.size(); ++i) {
      const auto step = balancer.step();
      if (!step) break;
      reasons[step->first->irq] = step->second;
    }
  }
  return moves_between(input, channels, reasons);
}

std::vector<planned_move> plan_pins(const balance_input& input,
                                    const std::vector<pin_rule>& rules) {
  auto channels = input.channels;
  std::map<unsigned, std::string> reasons;
  std::vector<std::size_t> turns(rules.size());
  for (auto& channel : channels) {
    if (!channel.can_move) continue;
    for (std::size_t i = 0; i < rules.size(); ++i) {
      const auto& rule = rules[i];
      if (::fnmatch(rule.pattern.c_str(), channel.name.c_str(), 0) != 0) continue;
      channel.cpu = rule.cpus[turns[i]++ % rule.cpus.size()];
      reasons[channel.irq] =
          fmt::format("pinned: {} goes to {}", rule.pattern, async::format_cpu_list(rule.cpus));
      break;
    }
  }
  return moves_between(input, channels, reasons);
}

}  // namespace

result<balance_wish> parse_balance_policy(std::string_view text) {
  constexpr std::string_view pin = "pin:";
  if (text == "spread") return balance_wish{balance_policy::spread, {}};
  if (text == "numa") return balance_wish{balance_policy::numa, {}};
  if (!text.starts_with(pin)) return bad_policy(text);
  auto rules = parse_pins(text.substr(pin.size()), text);
  if (!rules) return rules.error();
  return balance_wish{balance_policy::pin, std::move(*rules)};
}

balance_input make_balance_input(const inventory& all,
                                 const std::map<unsigned, std::uint64_t>& events) {
  balance_input out;
  out.cpus = all.cpus;
  for (const auto& channel : all.channels) {
    if (!channel.irq || channel.counts.empty()) continue;
    const auto most = std::max_element(channel.counts.begin(), channel.counts.end());
    const auto column = static_cast<std::size_t>(most - channel.counts.begin());
    auto cpu = channel.of_cpu.value_or(all.cpus[column]);
    if (channel.effective && !channel.effective->value.empty())
      cpu = channel.effective->value.front();
    const auto weight = events.find(*channel.irq);
    out.channels.push_back({.irq = *channel.irq,
                            .name = channel.name,
                            .cpu = cpu,
                            .events = weight == events.end() ? 0 : weight->second,
                            .can_move = channel.can_move()});
  }
  return out;
}

std::map<unsigned, unsigned> read_numa_nodes(const system_root& root) {
  constexpr std::string_view folder = "/sys/devices/system/node";
  std::map<unsigned, unsigned> out;
  std::set<unsigned> nodes;
  for (const auto& name : root.names(folder)) {
    const auto node = name.starts_with("node")
                          ? parse_whole<unsigned>(std::string_view(name).substr(4))
                          : std::nullopt;
    const auto text = node ? root.read(fmt::format("{}/{}/cpulist", folder, name)) : std::nullopt;
    const auto cpus = text ? parse_cpu_set(*text) : std::nullopt;
    if (!cpus) continue;
    nodes.insert(*node);
    for (const auto cpu : *cpus)
      out[cpu] = *node;
  }
  if (nodes.size() < 2) out.clear();
  return out;
}

result<std::vector<planned_move>> plan_balance(const balance_input& input,
                                               const balance_wish& options) {
  if (options.policy == balance_policy::spread) return plan_spread(input, false);
  if (options.policy == balance_policy::numa) {
    if (input.nodes.empty())
      return make_error(errc::not_available, "balance within NUMA nodes",
                        "this guest has a single node; use spread");
    return plan_spread(input, true);
  }
  for (const auto& rule : options.pins)
    for (const auto cpu : rule.cpus)
      if (std::ranges::count(input.cpus, cpu) == 0)
        return make_error(errc::invalid_argument,
                          fmt::format("pin {} to CPU {}", rule.pattern, cpu),
                          fmt::format("online CPUs: {}", async::format_cpu_list(input.cpus)));
  return plan_pins(input, options.pins);
}

std::vector<std::uint64_t> events_after(const balance_input& input,
                                        const std::vector<planned_move>& moves) {
  std::map<unsigned, unsigned> targets;
  for (const auto& move : moves)
    targets[move.irq] = move.to;
  loads out;
  for (const auto& channel : input.channels) {
    const auto target = targets.find(channel.irq);
    out[target == targets.end() ? channel.cpu : target->second] += channel.events;
  }
  std::vector<std::uint64_t> in_order;
  in_order.reserve(input.cpus.size());
  for (const auto cpu : input.cpus)
    in_order.push_back(out[cpu]);
  return in_order;
}

}  // namespace xenpv::channels
