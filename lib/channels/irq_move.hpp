// Moves an interrupt to other CPUs and verifies the move. Compares the requested CPUs with the
// affinity that the kernel reports and with the CPUs whose counts grew after the move. Only the
// counts are proof: Linux reports the new affinity even if the hypervisor refused to notify another
// vCPU. Writes below /proc/irq, which requires root.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "channels/interrupts.hpp"
#include "xenpv/base/system_root.hpp"

namespace xenpv::channels {

enum class move_verdict {
  proven,     ///< events arrived, all on the requested CPUs
  set,        ///< the kernel accepted the move; no event arrived to prove it
  elsewhere,  ///< events arrived on other CPUs
  refused,    ///< the kernel rejected the move
};
[[nodiscard]] std::string_view to_string(move_verdict verdict) noexcept;

struct irq_move {
  unsigned irq = 0;
  std::vector<unsigned> cpus = {};                      ///< requested CPUs
  int error = 0;                                        ///< errno of the write, or 0
  std::optional<std::vector<unsigned>> allowed = {};    ///< as read back
  std::optional<std::vector<unsigned>> effective = {};  ///< as read back
  std::uint64_t grown_there = 0;      ///< events on the requested CPUs since the move
  std::uint64_t grown_elsewhere = 0;  ///< events on other CPUs since the move
  bool per_cpu = false;               ///< the move was refused and the interrupt is per-CPU
  move_verdict verdict = move_verdict::refused;
};

/// Explains why the kernel refused the move (see async::write_irq_affinity).
[[nodiscard]] std::string describe_refusal(const irq_move& move);

/// Writes the affinity and reads it back. The verdict is `set` or `refused`.
[[nodiscard]] irq_move move_irq(const system_root& root, unsigned irq,
                                const std::vector<unsigned>& cpus);

/// Counts the interrupt's events between two snapshots, on the requested CPUs and elsewhere, and
/// sets the verdict accordingly (pure). If either snapshot lacks the interrupt's row, the verdict
/// does not change.
void judge_move(irq_move& move, const interrupt_table& before, const interrupt_table& after);

}  // namespace xenpv::channels
