// What Linux says of one interrupt beside its counts: /proc/irq/N and /sys/kernel/irq/N. The
// parsers are pure; the readers look below a system_root and leave unset what cannot be read,
// because rows vanish while one looks and other users may not see everything.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/system_root.hpp"

namespace xenpv::diag {

/// /proc/irq/N/spurious
struct spurious_count {
  std::uint64_t count = 0;  ///< handled since the last 100000, not a total of events
  std::uint64_t unhandled = 0;
  std::uint64_t last_unhandled_ms = 0;
};
[[nodiscard]] std::optional<spurious_count> parse_spurious(std::string_view text);

/// "0-3,8" as the kernel writes it, or "" for no CPU; nullopt for anything else.
[[nodiscard]] std::optional<std::vector<unsigned>> parse_cpu_set(std::string_view text);

struct irq_facts {
  unsigned irq = 0;
  std::optional<std::vector<unsigned>> allowed = {};    ///< smp_affinity_list: what was asked for
  std::optional<std::vector<unsigned>> effective = {};  ///< where it is, as far as the kernel knows
  std::optional<spurious_count> spurious = {};
  // Of /sys/kernel/irq, which says what /proc/interrupts also does, and the trigger.
  std::optional<std::string> actions = {};
  std::optional<std::string> chip = {};
  std::optional<std::string> handler = {};
  std::optional<std::string> trigger = {};
};

/// Only the affinities: what can change, and all that is worth reading again and again.
[[nodiscard]] irq_facts read_irq_affinity(const system_root& root, unsigned irq);
[[nodiscard]] irq_facts read_irq_facts(const system_root& root, unsigned irq);

}  // namespace xenpv::diag
