// What an interrupt of a Xen guest is for, told from its row of /proc/interrupts: chip, flow
// handler and name are what drivers/xen/events and its callers give (evtchn_2l/fifo alike). Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "xenpv/diag/interrupts.hpp"

namespace xenpv::diag {

enum class channel_kind {
  timer,     ///< VIRQ_TIMER of a vCPU
  ipi,       ///< resched, callfunc, callfuncsingle, irqwork
  spinlock,  ///< the kick of PV spinlocks
  debug,     ///< VIRQ_DEBUG
  pmu,       ///< VIRQ_XENPMU
  xenbus,    ///< xenstore
  console,   ///< hvc_console
  device,    ///< a PV device, front end or back end
  user,      ///< bound through /dev/xen/evtchn
  pirq,      ///< a physical interrupt through Xen
  virq,      ///< any other virtual IRQ
  unbound,   ///< a port that waits for its other end and has no interrupt
  other,
};
[[nodiscard]] std::string_view to_string(channel_kind kind) noexcept;
/// The words of to_string; nullopt for any other.
[[nodiscard]] std::optional<channel_kind> parse_channel_kind(std::string_view word) noexcept;

struct channel_purpose {
  channel_kind kind = channel_kind::other;
  std::string detail = {};  ///< of an IPI: "resched"; of a user's channel: the opener's name
  std::optional<unsigned> cpu = {};  ///< of what belongs to one CPU: "timer3" is of CPU 3
  friend bool operator==(const channel_purpose&, const channel_purpose&) = default;
};

/// nullopt when the row is no event channel.
[[nodiscard]] std::optional<channel_purpose> purpose_of(const interrupt_row& row);

/// How the hypervisor tells the guest that events wait.
enum class upcall { unknown, vector, pci_interrupt, callback };
[[nodiscard]] std::string_view to_string(upcall how) noexcept;

/// vector: the row HYP counts (HVM, PVH, ARM has none). pci_interrupt: no HYP, but the platform
/// device's line counts. callback: a PV guest's, given by `is_pv`.
[[nodiscard]] upcall upcall_of(const interrupt_table& table, bool is_pv) noexcept;

/// Rows debugN exist only with the 2-level ABI (xen_smp_intr_init since 5.x); nullopt when there is
/// no event channel at all, or when the kernel is too old for the rule to hold.
enum class event_abi { two_level, fifo };
[[nodiscard]] std::string_view to_string(event_abi abi) noexcept;
[[nodiscard]] std::optional<event_abi> event_abi_of(const interrupt_table& table) noexcept;

}  // namespace xenpv::diag
