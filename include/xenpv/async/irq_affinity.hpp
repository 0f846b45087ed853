// Which CPU an event-channel port interrupts: find the port's Linux IRQ, move it, and tell from
// counts whether it stayed. Reads and writes files below a system_root; binds and notifies nothing.
//
// Linux names the IRQ of a user-bound port "evtchn:<name of the thread that opened the handle>",
// but no file maps IRQs to ports: the new one is told by comparing before and after the bind. Linux
// also reports an affinity that the hypervisor refused, so only growing counts prove anything.
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
  verified,     ///< counts grew on the wanted CPU and nowhere else
  set,          ///< the kernel took the affinity; no proof yet, or proof against it (see reason)
  unavailable,  ///< IRQ not found, or its affinity could not be changed
};
[[nodiscard]] std::string_view to_string(irq_placement_status status) noexcept;

struct irq_placement {
  irq_placement_status status = irq_placement_status::unavailable;
  std::optional<unsigned> irq = {};
  unsigned cpu = 0;
  std::string reason = {};  ///< why it is not verified, or what verified it; for people
  std::vector<cpu_count> baseline = {};  ///< counts that the next check compares with
};

/// The row of `irq` in the text of /proc/interrupts; columns are named by the header line, because
/// offline CPUs have none. An error when there is no such row or it has too few columns.
[[nodiscard]] result<std::vector<cpu_count>> parse_irq_counts(std::string_view interrupts,
                                                              unsigned irq);

/// IRQs with a handler called `action`, ascending, from /sys/kernel/irq/*/actions; empty where the
/// kernel has no such files.
[[nodiscard]] std::vector<unsigned> find_irqs(const system_root& root, std::string_view action);

/// Writes /proc/irq/N/smp_affinity_list. The errno of the refusal, 0 when it was taken: EIO for a
/// per-CPU channel, EPERM in an HVM guest without the callback vector, ENOENT for one that is gone.
[[nodiscard]] int write_irq_affinity(const system_root& root, unsigned irq,
                                     std::span<const unsigned> cpus);

/// Picks the one IRQ that is in `after` and not in `before`, and moves it to `cpu`. Never throws
/// for what the machine lacks: the placement says so. Needs root on a real system.
[[nodiscard]] irq_placement place_new_irq(const system_root& root, std::span<const unsigned> before,
                                          std::span<const unsigned> after, std::string_view action,
                                          unsigned cpu);

/// Compares today's counts with `placement.baseline` (pure): verified if only the wanted CPU's
/// grew.
[[nodiscard]] irq_placement judge_irq_counts(irq_placement placement,
                                             std::vector<cpu_count> counts);

/// judge_irq_counts() on what /proc/interrupts says now. The returned placement has a new baseline,
/// so each check is about the events since the one before.
[[nodiscard]] irq_placement check_irq(const system_root& root, irq_placement placement);

}  // namespace xenpv::async
