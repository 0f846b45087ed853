// Steers the interrupt of an event-channel port: finds the port's Linux IRQ, moves it to a CPU, and
// verifies from counts that it stayed. Reads and writes files below a system_root; binds and
// notifies nothing.
//
// Linux names the IRQ of a user-bound port "evtchn:<name of the thread that opened the handle>",
// but no file maps IRQs to ports: comparing the lists before and after the bind finds the new one.
// Linux also reports an affinity that the hypervisor refused, so only growing counts are proof.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/error.hpp"
#include "xenpv/base/system_root.hpp"

namespace xenpv::async {

/// One column of a row of /proc/interrupts.
struct cpu_count {
  unsigned cpu = 0;
  std::uint64_t count = 0;
  friend bool operator==(const cpu_count&, const cpu_count&) = default;
};

enum class irq_placement_status {
  verified,     ///< counts grew on the requested CPU only
  set,          ///< the kernel accepted it; no proof yet, or proof to the contrary (see reason)
  unavailable,  ///< IRQ not found, or its affinity could not be changed
};
[[nodiscard]] std::string_view to_string(irq_placement_status status) noexcept;

struct irq_placement {
  irq_placement_status status = irq_placement_status::unavailable;
  std::optional<unsigned> irq = {};
  unsigned cpu = 0;
  std::string reason = {};               ///< why it is not verified, or the proof; for display
  std::vector<cpu_count> baseline = {};  ///< counts that the next check compares with
};

/// The row of `irq` in the text of /proc/interrupts; the header line names the columns, because
/// offline CPUs have none. An error if there is no such row or it has too few columns.
[[nodiscard]] result<std::vector<cpu_count>> parse_irq_counts(std::string_view interrupts,
                                                              unsigned irq);

/// IRQs with a handler named `action`, ascending, from /sys/kernel/irq/*/actions; empty if the
/// kernel has no such files.
[[nodiscard]] std::vector<unsigned> find_irqs(const system_root& root, std::string_view action);

/// Writes /proc/irq/N/smp_affinity_list. Returns 0 or the errno of a refusal: EIO for a per-CPU
/// channel, EPERM in an HVM guest without the callback vector, ENOENT for an IRQ that is gone.
[[nodiscard]] int write_irq_affinity(const system_root& root, unsigned irq,
                                     std::span<const unsigned> cpus);

/// Picks the one IRQ that is in `after` and not in `before`, and moves it to `cpu`. Does not
/// throw if the machine lacks a feature: the placement reports it. Needs root on a real system.
[[nodiscard]] irq_placement place_new_irq(const system_root& root, std::span<const unsigned> before,
                                          std::span<const unsigned> after, std::string_view action,
                                          unsigned cpu);

/// Compares `counts` with `placement.baseline` (pure): verified if only the requested CPU's count
/// grew.
[[nodiscard]] irq_placement judge_irq_counts(irq_placement placement,
                                             std::vector<cpu_count> counts);

/// judge_irq_counts() with the current /proc/interrupts. The returned placement has a new baseline,
/// so each check covers the events since the previous one.
[[nodiscard]] irq_placement check_irq(const system_root& root, irq_placement placement);

}  // namespace xenpv::async
