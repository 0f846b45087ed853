// Moves an interrupt to other CPUs and verifies the move: the requested CPUs, the affinity that the
// kernel reports, and the CPUs whose counts grew since. Only the counts are proof: Linux reports an
// affinity even where the hypervisor refused to notify another vCPU. Writes below /proc/irq; needs
// root.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "channels/interrupts.hpp"
#include "xenpv/base/system_root.hpp"

namespace xenpv::channels {

/// The reason why the kernel refused to move an interrupt (async::write_irq_affinity), as a
/// message.
[[nodiscard]] std::string describe_refusal(int error, unsigned irq);

enum class move_verdict {
  proven,     ///< events came, all of them on the requested CPUs
  set,        ///< the kernel accepted it; no event came to prove it
  elsewhere,  ///< events came on other CPUs
  refused,    ///< the kernel rejected it
};
[[nodiscard]] std::string_view to_string(move_verdict verdict) noexcept;

struct irq_move {
  unsigned irq = 0;
  std::vector<unsigned> cpus = {};                      ///< requested
  int error = 0;                                        ///< of the write
  std::optional<std::vector<unsigned>> allowed = {};    ///< as re-read
  std::optional<std::vector<unsigned>> effective = {};  ///< as re-read
  std::uint64_t grown_there = 0;                        ///< events since, on the requested CPUs
  std::uint64_t grown_elsewhere = 0;                    ///< events since, on other CPUs
  move_verdict verdict = move_verdict::refused;
};

/// Writes the affinity and re-reads it. The verdict is `set` or `refused`.
[[nodiscard]] irq_move move_irq(const system_root& root, unsigned irq,
                                const std::vector<unsigned>& cpus);

/// Counts the events of the interrupt between two readings, on the requested CPUs and elsewhere,
/// and sets the verdict that they prove (pure). A row that vanished proves nothing.
void judge_move(irq_move& move, const interrupt_table& before, const interrupt_table& after);

}  // namespace xenpv::channels
