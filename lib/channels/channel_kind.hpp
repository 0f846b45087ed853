// Classifies an interrupt of a Xen guest by its row in /proc/interrupts. drivers/xen/events and its
// callers set the chip, flow handler and name, which do not depend on the ABI (2-level or FIFO).
// Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "channels/interrupts.hpp"

namespace xenpv::channels {

enum class channel_kind {
  timer,     ///< VIRQ_TIMER of a vCPU
  ipi,       ///< resched, callfunc, callfuncsingle, irqwork
  spinlock,  ///< kicks of PV spinlocks
  debug,     ///< VIRQ_DEBUG
  pmu,       ///< VIRQ_XENPMU
  xenbus,    ///< xenstore
  console,   ///< hvc_console
  device,    ///< a PV device, frontend or backend
  user,      ///< bound through /dev/xen/evtchn
  pirq,      ///< a physical interrupt that Xen delivers
  virq,      ///< any other virtual IRQ
  unbound,   ///< a port that waits for its remote end and has no interrupt
  other,
};
[[nodiscard]] std::string_view to_string(channel_kind kind) noexcept;
/// Inverse of to_string; nullopt for an unknown name.
[[nodiscard]] std::optional<channel_kind> parse_channel_kind(std::string_view text) noexcept;

struct channel_purpose {
  channel_kind kind = channel_kind::other;
  std::string detail = {};           ///< "resched" for an IPI; the opener's name for a user channel
  std::optional<unsigned> cpu = {};  ///< of a per-CPU interrupt: 3 for "timer3"
  friend bool operator==(const channel_purpose&, const channel_purpose&) = default;
};

/// nullopt if the row is not an event channel.
[[nodiscard]] std::optional<channel_purpose> purpose_of(const interrupt_row& row);
/// The first row with this purpose; nullptr if there is none.
[[nodiscard]] const interrupt_row* find_row(const interrupt_table& table,
                                            const channel_purpose& purpose);

/// How the hypervisor notifies the guest of pending events.
enum class upcall { unknown, vector, pci_interrupt, callback };
[[nodiscard]] std::string_view to_string(upcall method) noexcept;

/// vector: row HYP has counts (HVM, PVH; ARM has no such row). pci_interrupt: no HYP, but the
/// platform device has an interrupt. callback: a PV guest (`is_pv`).
[[nodiscard]] upcall upcall_of(const interrupt_table& table, bool is_pv) noexcept;

/// Rows debugN exist only with the 2-level ABI (xen_smp_intr_init since 5.x). nullopt if there are
/// no event channels, or if the kernel is too old for this rule.
enum class event_abi { two_level, fifo };
[[nodiscard]] std::string_view to_string(event_abi abi) noexcept;
[[nodiscard]] std::optional<event_abi> event_abi_of(const interrupt_table& table) noexcept;

}  // namespace xenpv::channels
