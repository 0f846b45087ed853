// Reads /proc/irq/N and /sys/kernel/irq/N for a single interrupt. The parsers are pure. The readers
// read below a system_root and leave unreadable fields unset: an interrupt may be removed at any
// time, and unprivileged users cannot read every file.
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
  std::uint64_t count = 0;  ///< not a total: the kernel resets it at 100000
  std::uint64_t unhandled = 0;
  std::uint64_t last_unhandled_ms = 0;
};
[[nodiscard]] std::optional<spurious_count> parse_spurious(std::string_view text);

/// Parses a CPU list in kernel format: "0-3,8", or "" for no CPUs. Returns nullopt for anything
/// else.
[[nodiscard]] std::optional<std::vector<unsigned>> parse_cpu_set(std::string_view text);

struct irq_facts {
  unsigned irq = 0;
  std::optional<std::vector<unsigned>> allowed = {};    ///< smp_affinity_list: the requested CPUs
  std::optional<std::vector<unsigned>> effective = {};  ///< effective_affinity_list
  std::optional<spurious_count> spurious = {};
  // From /sys/kernel/irq: the same facts as in /proc/interrupts, plus the trigger.
  std::optional<std::string> actions = {};
  std::optional<std::string> chip = {};
  std::optional<std::string> handler = {};
  std::optional<std::string> trigger = {};
};

/// Reads only the affinities, which may change at any time.
[[nodiscard]] irq_facts read_irq_affinity(const system_root& root, unsigned irq);
[[nodiscard]] irq_facts read_irq_facts(const system_root& root, unsigned irq);

}  // namespace xenpv::channels
