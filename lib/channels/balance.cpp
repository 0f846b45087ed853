#include "channels/balance.hpp"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <set>

#include "base/parse.hpp"
#include "base/words.hpp"
#include "channels/irq_files.hpp"
#include "channels/spread_planner.hpp"
#include "xenpv/async/cpu_set.hpp"

namespace xenpv::channels {
namespace {

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

/// Uses the counted shares, so that they agree with /proc/interrupts.
std::string reason_for(const planned_step& step, const std::vector<std::uint64_t>& counted,
                       const balance_input& input) {
  const auto total = sum_of(counted);
  return fmt::format("CPU {} receives {:.1f} % of the events, CPU {} receives {:.1f} %",
                     input.cpus[step.from], percent(counted[step.from], total), input.cpus[step.to],
                     percent(counted[step.to], total));
}

std::vector<planned_move> plan_spread(const balance_input& input, bool by_node) {
  if (movable_events(input) < enough_events) return {};
  auto channels = input.channels;
  std::map<unsigned, std::string> reasons;
  const auto counted = events_after(input, {});
  for (const auto& cpus : groups_of(input, by_node)) {
    if (cpus.size() < 2) continue;
    for (const auto& step : spread_planner(input, cpus).plan()) {
      auto& channel = channels[step.channel];
      channel.cpu = input.cpus[step.to];
      reasons[channel.irq] = reason_for(step, counted, input);
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

events_by_irq events_since_boot(const inventory& all) {
  events_by_irq out;
  for (const auto& channel : all.channels)
    if (channel.irq) out.emplace(*channel.irq, channel.counts);
  return out;
}

events_by_irq events_in(const rate_report& rates, const inventory& all) {
  events_by_irq out;
  for (const auto& rate : rates.channels) {
    auto& counts = out[rate.irq];
    for (const auto cpu : all.cpus) {
      const auto column = std::ranges::find(rates.cpus, cpu) - rates.cpus.begin();
      const auto index = static_cast<std::size_t>(column);
      counts.push_back(index < rate.grown.size() ? rate.grown[index] : 0);
    }
  }
  return out;
}

balance_input make_balance_input(const inventory& all, const events_by_irq& events) {
  balance_input out;
  out.cpus = all.cpus;
  for (const auto& channel : all.channels) {
    if (!channel.irq || channel.counts.empty()) continue;
    const auto found = events.find(*channel.irq);
    auto counts = found == events.end() ? std::vector<std::uint64_t>() : found->second;
    counts.resize(all.cpus.size());
    const auto& busiest = sum_of(counts) > 0 ? counts : channel.counts;
    const auto column = std::max_element(busiest.begin(), busiest.end()) - busiest.begin();
    auto cpu = channel.of_cpu.value_or(all.cpus[static_cast<std::size_t>(column)]);
    const bool is_placed = channel.effective && !channel.effective->value.empty();
    if (is_placed) cpu = channel.effective->value.front();
    out.channels.push_back({.irq = *channel.irq,
                            .name = channel.name,
                            .cpu = cpu,
                            .events = sum_of(counts),
                            .can_move = channel.can_move(),
                            .counts = std::move(counts),
                            .is_placed = is_placed && channel.can_move()});
  }
  return out;
}

std::uint64_t movable_events(const balance_input& input) noexcept {
  std::uint64_t out = 0;
  for (const auto& channel : input.channels)
    if (channel.can_move) out += channel.events;
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
  std::map<unsigned, std::uint64_t> sums;
  for (const auto& channel : input.channels) {
    const auto target = targets.find(channel.irq);
    if (target != targets.end())
      sums[target->second] += channel.events;
    else if (channel.counts.empty())
      sums[channel.cpu] += channel.events;
    else
      for (std::size_t column = 0; column < input.cpus.size(); ++column)
        sums[input.cpus[column]] += channel.counts[column];
  }
  std::vector<std::uint64_t> in_order;
  in_order.reserve(input.cpus.size());
  for (const auto cpu : input.cpus)
    in_order.push_back(sums[cpu]);
  return in_order;
}

}  // namespace xenpv::channels
