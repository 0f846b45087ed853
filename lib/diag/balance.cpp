#include "xenpv/diag/balance.hpp"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <set>

#include "diag/words.hpp"
#include "xenpv/async/cpu_set.hpp"
#include "xenpv/base/parse.hpp"
#include "xenpv/diag/irq_files.hpp"

namespace xenpv::diag {
namespace {

using loads = std::map<unsigned, std::uint64_t>;

error bad_policy(std::string_view text) {
  return make_error(errc::invalid_argument, fmt::format("policy '{}'", text),
                    "expected spread, numa, or pin:NAME=CPUS;NAME=CPUS, as in pin:vif*=0-3");
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

std::uint64_t sum(const loads& of) {
  return std::accumulate(of.begin(), of.end(), std::uint64_t{0},
                         [](std::uint64_t total, const auto& each) { return total + each.second; });
}

double percent(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : 100 * static_cast<double>(part) / static_cast<double>(whole);
}

/// One group of CPUs that share their channels: all, or those of a node.
class spreading {
 public:
  spreading(std::vector<unsigned> cpus, std::vector<balance_channel*> channels)
      : cpus_(std::move(cpus)), channels_(std::move(channels)) {
    for (const auto cpu : cpus_)
      loads_[cpu] = 0;
    for (const auto* each : channels_)
      loads_[each->cpu] += each->events;
    total_ = sum(loads_);
    least_gain_ = cpus_.empty() ? 0 : total_ / cpus_.size() / 20;
  }

  /// Moves one channel and says why; nullopt when nothing more is worth it.
  std::optional<std::pair<balance_channel*, std::string>> step() {
    auto by_load = cpus_;
    std::stable_sort(by_load.begin(), by_load.end(),
                     [this](unsigned a, unsigned b) { return loads_[a] > loads_[b]; });
    const auto idlest = by_load.back();
    // The busiest may have a single large channel: then the next one is worth a look.
    for (const auto busy : by_load) {
      auto* best = best_to_move(busy, idlest);
      if (best == nullptr) continue;
      auto reason =
          fmt::format("CPU {} gets {:.0f} % of the events, CPU {} gets {:.0f} %", busy,
                      percent(loads_[busy], total_), idlest, percent(loads_[idlest], total_));
      loads_[busy] -= best->events;
      loads_[idlest] += best->events;
      best->cpu = idlest;
      return std::pair(best, std::move(reason));
    }
    return std::nullopt;
  }

 private:
  /// The channel whose move leaves the lower peak of the two; nullptr when none is worth it.
  balance_channel* best_to_move(unsigned busy, unsigned idlest) {
    balance_channel* best = nullptr;
    auto best_peak = loads_[busy];
    for (auto* each : channels_) {
      if (!each->can_move || each->cpu != busy || each->events == 0) continue;
      const auto peak = std::max(loads_[busy] - each->events, loads_[idlest] + each->events);
      if (peak < best_peak) {
        best = each;
        best_peak = peak;
      }
    }
    return loads_[busy] - best_peak > least_gain_ ? best : nullptr;
  }

  std::vector<unsigned> cpus_;
  std::vector<balance_channel*> channels_;
  loads loads_;
  std::uint64_t total_ = 0;
  std::uint64_t least_gain_ = 0;
};

/// What differs between the channels before and after, with the reason of the last step.
std::vector<planned_move> moves_between(const balance_input& before,
                                        const std::vector<balance_channel>& after,
                                        const std::map<unsigned, std::string>& reasons) {
  std::vector<planned_move> out;
  for (std::size_t i = 0; i < after.size(); ++i) {
    const auto& was = before.channels[i];
    if (was.cpu == after[i].cpu) continue;
    out.push_back({.irq = was.irq,
                   .name = was.name,
                   .from = was.cpu,
                   .to = after[i].cpu,
                   .events = was.events,
                   .reason = reasons.at(was.irq)});
  }
  std::sort(out.begin(), out.end(),
            [](const planned_move& a, const planned_move& b) { return a.irq < b.irq; });
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
    const std::set<unsigned> here(cpus.begin(), cpus.end());
    std::vector<balance_channel*> group;
    for (auto& each : channels)
      if (here.contains(each.cpu)) group.push_back(&each);
    if (cpus.size() < 2) continue;
    spreading work(cpus, group);
    // Each step lowers a peak; the bound is only against surprises.
    for (std::size_t i = 0; i < 4 * group.size(); ++i) {
      const auto done = work.step();
      if (!done) break;
      reasons[done->first->irq] = done->second;
    }
  }
  return moves_between(input, channels, reasons);
}

std::vector<planned_move> plan_pins(const balance_input& input,
                                    const std::vector<pin_rule>& rules) {
  auto channels = input.channels;
  std::map<unsigned, std::string> reasons;
  std::vector<std::size_t> turns(rules.size());
  for (auto& each : channels) {
    if (!each.can_move) continue;
    for (std::size_t i = 0; i < rules.size(); ++i) {
      const auto& rule = rules[i];
      if (::fnmatch(rule.pattern.c_str(), each.name.c_str(), 0) != 0) continue;
      each.cpu = rule.cpus[turns[i]++ % rule.cpus.size()];
      reasons[each.irq] =
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
  for (const auto& each : all.channels) {
    if (!each.irq || each.counts.empty()) continue;
    const auto most = std::max_element(each.counts.begin(), each.counts.end());
    auto cpu = each.of_cpu.value_or(all.cpus[static_cast<std::size_t>(most - each.counts.begin())]);
    if (each.effective && !each.effective->value.empty()) cpu = each.effective->value.front();
    const auto weight = events.find(*each.irq);
    out.channels.push_back({.irq = *each.irq,
                            .name = each.name,
                            .cpu = cpu,
                            .events = weight == events.end() ? 0 : weight->second,
                            .can_move = each.can_move()});
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
                                               const balance_wish& wish) {
  if (wish.policy == balance_policy::spread) return plan_spread(input, false);
  if (wish.policy == balance_policy::numa) {
    if (input.nodes.empty())
      return make_error(errc::not_available, "balance within NUMA nodes",
                        "this guest sees a single node; use spread");
    return plan_spread(input, true);
  }
  for (const auto& rule : wish.pins)
    for (const auto cpu : rule.cpus)
      if (std::find(input.cpus.begin(), input.cpus.end(), cpu) == input.cpus.end())
        return make_error(errc::invalid_argument,
                          fmt::format("pin {} to CPU {}", rule.pattern, cpu),
                          fmt::format("online are {}", async::format_cpu_list(input.cpus)));
  return plan_pins(input, wish.pins);
}

std::vector<std::uint64_t> events_after(const balance_input& input,
                                        const std::vector<planned_move>& moves) {
  std::map<unsigned, unsigned> targets;
  for (const auto& each : moves)
    targets[each.irq] = each.to;
  loads out;
  for (const auto& each : input.channels) {
    const auto target = targets.find(each.irq);
    out[target == targets.end() ? each.cpu : target->second] += each.events;
  }
  std::vector<std::uint64_t> in_order;
  in_order.reserve(input.cpus.size());
  for (const auto cpu : input.cpus)
    in_order.push_back(out[cpu]);
  return in_order;
}

}  // namespace xenpv::diag
