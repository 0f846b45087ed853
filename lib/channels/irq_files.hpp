// Files of one interrupt other than /proc/interrupts: /proc/irq/N and /sys/kernel/irq/N. The
// parsers are pure. The readers read below a system_root and leave unreadable fields unset: an
// interrupt may vanish at any time, and unprivileged users may not see every file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/system_root.hpp"

namespace xenpv::channels {

/// /proc/irq/N/spurious
struct spurious_count {
  std::uint64_t count = 0;  ///< handled since the last reset at 100000, not a total
  std::uint64_t unhandled = 0;
  std::uint64_t last_unhandled_ms = 0;
};
[[nodiscard]] std::optional<spurious_count> parse_spurious(std::string_view text);

/// "0-3,8" as the kernel writes it, or "" for no CPU; nullopt for anything else.
[[nodiscard]] std::optional<std::vector<unsigned>> parse_cpu_set(std::string_view text);

struct irq_facts {
  unsigned irq = 0;
  std::optional<std::vector<unsigned>> allowed = {};    ///< smp_affinity_list: the requested CPUs
  std::optional<std::vector<unsigned>> effective = {};  ///< the CPUs in use, in the kernel's view
  std::optional<spurious_count> spurious = {};
  // From /sys/kernel/irq: the same as in /proc/interrupts, and the trigger.
  std::optional<std::string> actions = {};
  std::optional<std::string> chip = {};
  std::optional<std::string> handler = {};
  std::optional<std::string> trigger = {};
};

/// Reads only the affinities, the part that changes and is worth re-reading.
[[nodiscard]] irq_facts read_irq_affinity(const system_root& root, unsigned irq);
[[nodiscard]] irq_facts read_irq_facts(const system_root& root, unsigned irq);

}  // namespace xenpv::channels
