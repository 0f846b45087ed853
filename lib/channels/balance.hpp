// Balances event channels across CPUs: plans which interrupts to move and gives a reason for each
// move. Pure; irq_move.hpp executes a plan. A plan makes as few moves as possible.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "channels/inventory.hpp"
#include "channels/rates.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/system_root.hpp"

namespace xenpv::channels {

/// With fewer events of channels that can move, their distribution does not matter.
inline constexpr std::uint64_t enough_events = 10'000;

struct balance_channel {
  unsigned irq = 0;
  std::string name = {};
  unsigned cpu = 0;          ///< current target CPU
  std::uint64_t events = 0;  ///< weight for balancing
  bool can_move = false;
  /// The events on each CPU, in the order of balance_input::cpus; empty: all on `cpu`.
  std::vector<std::uint64_t> counts = {};
  /// False if `cpu` was only inferred from the counts: while the channel is not moved, its events
  /// are expected where they were counted.
  bool is_placed = true;
};

struct balance_input {
  std::vector<unsigned> cpus = {};  ///< online CPUs, ascending
  std::vector<balance_channel> channels = {};
  std::map<unsigned, unsigned> nodes = {};  ///< NUMA node of each CPU; empty without NUMA
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
  std::string pattern;  ///< fnmatch(3) pattern for channel names
  std::vector<unsigned> cpus;
};

enum class balance_policy { spread, numa, pin };
struct balance_wish {
  balance_policy policy = balance_policy::spread;
  std::vector<pin_rule> pins = {};
};

/// Parses "spread", "numa" or "pin:vif*=0-3;blkif=4".
[[nodiscard]] result<balance_wish> parse_balance_policy(std::string_view text);

/// The events of each interrupt on each CPU, in the order of inventory::cpus.
using events_by_irq = std::map<unsigned, std::vector<std::uint64_t>>;
[[nodiscard]] events_by_irq events_since_boot(const inventory& all);
[[nodiscard]] events_by_irq events_in(const rate_report& rates, const inventory& all);

/// Lists the inventory's channels that have an interrupt, each with its current CPU: the first CPU
/// of the effective affinity, else the CPU of a per-CPU channel, else the CPU with the highest
/// count. A channel that `events` lacks has no events.
[[nodiscard]] balance_input make_balance_input(const inventory& all, const events_by_irq& events);

/// Returns the sum of the events of all channels that can move.
[[nodiscard]] std::uint64_t movable_events(const balance_input& input) noexcept;

/// Reads /sys/devices/system/node. Returns an empty map if there are fewer than two nodes.
[[nodiscard]] std::map<unsigned, unsigned> read_numa_nodes(const system_root& root);

/// Plans the moves, sorted by IRQ number. spread: moves channels from CPUs above the load that
/// they would have if it were even, to the least busy CPU. The plan is empty if all moves together
/// shift less than 5% of the mean load of a CPU, or if the channels that can move have fewer than
/// enough_events events; channels without events are not moved. numa: does the same within each
/// node. pin: assigns each channel to the CPUs of the first rule that matches its name, round
/// robin. Fails if the policy cannot be applied to this guest.
[[nodiscard]] result<std::vector<planned_move>> plan_balance(const balance_input& input,
                                                             const balance_wish& options);

/// Returns the event count of each CPU, in the order of input.cpus, as if the moves had been made
/// before the events were counted.
[[nodiscard]] std::vector<std::uint64_t> events_after(const balance_input& input,
                                                      const std::vector<planned_move>& moves);

}  // namespace xenpv::channels
