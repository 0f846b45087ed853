// Sets the affinity of an event channel's interrupt: finds the port's IRQ, moves the IRQ to a CPU,
// and verifies from interrupt counts that it stays there. Reads and writes files below a
// system_root. Does not bind or notify ports.
//
// Linux names the IRQ of a user-bound port "evtchn:<name of the thread that opened the handle>",
// but provides no mapping from ports to IRQs. The new IRQ is therefore identified by comparing the
// IRQ lists before and after the bind. Linux reports the new affinity even if the hypervisor
// refused it, so only the interrupt counts prove the placement.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/error.hpp"
#include "xenpv/base/system_root.hpp"

namespace xenpv::async {

/// One CPU's column in a row of /proc/interrupts.
struct cpu_count {
  unsigned cpu = 0;         ///< from the header line of /proc/interrupts
  std::uint64_t count = 0;  ///< interrupts handled on this CPU since boot
  friend bool operator==(const cpu_count&, const cpu_count&) = default;
};

/// Whether an IRQ is on the requested CPU.
enum class irq_placement_status {
  verified,     ///< counts increased only on the requested CPU
  set,          ///< accepted by the kernel, but unverified or disproved (see `reason`)
  unavailable,  ///< IRQ not found, or its affinity could not be changed
};
/// Returns the name of the enumerator: "verified".
[[nodiscard]] std::string_view to_string(irq_placement_status status) noexcept;

/// The IRQ of a port, the CPU requested for it, and the evidence.
struct irq_placement {
  irq_placement_status status = irq_placement_status::unavailable;  ///< of `irq` on `cpu`
  std::optional<unsigned> irq = {};                                 ///< unset: not found
  unsigned cpu = 0;                                                 ///< the requested CPU
  std::string reason = {};               ///< explanation or evidence, for display
  std::vector<cpu_count> baseline = {};  ///< counts with which the next check compares
};

/// Parses the row of `irq` in /proc/interrupts. Identifies the columns by the header line, because
/// offline CPUs do not have a column. Returns an error if the row is missing or too short.
[[nodiscard]] result<std::vector<cpu_count>> parse_irq_counts(std::string_view interrupts,
                                                              unsigned irq);

/// Returns the IRQs with a handler named `action`, in ascending order, from
/// /sys/kernel/irq/*/actions. Empty if the kernel does not provide these files.
[[nodiscard]] std::vector<unsigned> find_irqs(const system_root& root, std::string_view action);

/// Writes /proc/irq/N/smp_affinity_list. Returns 0 or the errno of the write: EIO for a per-CPU
/// channel, EPERM in an HVM guest without the callback vector, ENOENT if the IRQ no longer exists.
[[nodiscard]] int write_irq_affinity(const system_root& root, unsigned irq,
                                     std::span<const unsigned> cpus);

/// Moves an IRQ to a CPU and returns as write_irq_affinity() does.
using irq_mover = std::function<int(unsigned irq, unsigned cpu)>;
/// Makes place_new_irq() move IRQs with `mover`, which any thread may call. For a process that
/// lacks the privilege to move IRQs. Call before any other thread starts; empty: the default.
void set_irq_mover(irq_mover mover);

/// Moves the one IRQ that is in `after` but not in `before` to `cpu`. Reports missing kernel
/// features in the result instead of throwing. Needs root on a real system.
[[nodiscard]] irq_placement place_new_irq(const system_root& root, std::span<const unsigned> before,
                                          std::span<const unsigned> after, std::string_view action,
                                          unsigned cpu);

/// Compares `counts` with `placement.baseline`; performs no I/O. The result is `verified` if only
/// the requested CPU's count increased.
[[nodiscard]] irq_placement judge_irq_counts(irq_placement placement,
                                             std::vector<cpu_count> counts);

/// Calls judge_irq_counts() with the current counts from /proc/interrupts. The returned placement
/// has a new baseline, so each check covers the events since the previous one.
[[nodiscard]] irq_placement check_irq(const system_root& root, irq_placement placement);

}  // namespace xenpv::async
