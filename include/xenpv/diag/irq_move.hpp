// Moving an interrupt to other CPUs, and what came of it: what was asked for, what the kernel says
// now, and which CPU's count grew since. Only the last is proof: Linux reports an affinity even
// where the hypervisor refused to notify another vCPU. Writes below /proc/irq; needs root.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/system_root.hpp"
#include "xenpv/diag/interrupts.hpp"

namespace xenpv::diag {

/// Why the kernel refuses to move an interrupt (async::write_irq_affinity), for people.
[[nodiscard]] std::string describe_refusal(int error, unsigned irq);

enum class move_verdict {
  proven,     ///< events came, and all of them on the CPUs asked for
  set,        ///< the kernel took it; no event came to prove it
  elsewhere,  ///< events came on other CPUs
  refused,    ///< the kernel did not take it
};
[[nodiscard]] std::string_view to_string(move_verdict verdict) noexcept;

struct irq_move {
  unsigned irq = 0;
  std::vector<unsigned> cpus = {};                      ///< asked for
  int error = 0;                                        ///< of the write
  std::optional<std::vector<unsigned>> allowed = {};    ///< as re-read
  std::optional<std::vector<unsigned>> effective = {};  ///< as re-read
  std::uint64_t grown_there = 0;                        ///< events since, on the CPUs asked for
  std::uint64_t grown_elsewhere = 0;                    ///< and on others
  move_verdict verdict = move_verdict::refused;
};

/// Writes and re-reads. The verdict is `set` or `refused`.
[[nodiscard]] irq_move move_irq(const system_root& root, unsigned irq,
                                const std::vector<unsigned>& cpus);

/// Events of `irq` between two readings, on `cpus` and elsewhere, put into `move` with the verdict
/// they prove (pure). A row that vanished proves nothing.
void judge_move(irq_move& move, const interrupt_table& before, const interrupt_table& after);

}  // namespace xenpv::diag
