// Who should move where: plans that even out event channels over CPUs, and why. Pure; irq_move.hpp
// carries them out. A plan moves as little as it can: what is well where it is stays.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/error.hpp"
#include "xenpv/base/system_root.hpp"
#include "xenpv/diag/inventory.hpp"

namespace xenpv::diag {

struct balance_channel {
  unsigned irq = 0;
  std::string name = {};
  unsigned cpu = 0;          ///< where it is delivered now
  std::uint64_t events = 0;  ///< its weight
  bool can_move = false;
};

struct balance_input {
  std::vector<unsigned> cpus = {};  ///< online, ascending
  std::vector<balance_channel> channels = {};
  std::map<unsigned, unsigned> nodes = {};  ///< NUMA node by CPU; empty without nodes
};

struct planned_move {
  unsigned irq = 0;
  std::string name = {};
  unsigned from = 0;
  unsigned to = 0;
  std::uint64_t events = 0;
  std::string reason = {};
};

struct pin_rule {
  std::string pattern;  ///< of a name, as fnmatch(3)
  std::vector<unsigned> cpus;
};

enum class balance_policy { spread, numa, pin };
struct balance_wish {
  balance_policy policy = balance_policy::spread;
  std::vector<pin_rule> pins = {};
};

/// "spread", "numa", "pin:vif*=0-3;blkif=4".
[[nodiscard]] result<balance_wish> parse_balance_policy(std::string_view text);

/// The channels of an inventory with their present CPU: the effective affinity, or else the CPU
/// that counted most. `events` by interrupt are the weights; without one it is 0.
[[nodiscard]] balance_input make_balance_input(const inventory& all,
                                               const std::map<unsigned, std::uint64_t>& events);

/// /sys/devices/system/node; empty on a machine without it or with one node.
[[nodiscard]] std::map<unsigned, unsigned> read_numa_nodes(const system_root& root);

/// By interrupt. spread: from the busiest CPU to the idlest, as long as that makes the busiest less
/// busy by a twentieth of the mean; channels without events stay. numa: the same within each node.
/// pin: each channel that fits a rule (the first) goes to one of its CPUs, in turn. An error when
/// the policy cannot be followed here.
[[nodiscard]] result<std::vector<planned_move>> plan_balance(const balance_input& input,
                                                             const balance_wish& wish);

/// Events on each CPU once the moves are made; in the order of input.cpus.
[[nodiscard]] std::vector<std::uint64_t> events_after(const balance_input& input,
                                                      const std::vector<planned_move>& moves);

}  // namespace xenpv::diag
