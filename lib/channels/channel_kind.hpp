// Classifies a Xen guest's interrupts by their rows in /proc/interrupts. drivers/xen/events and its
// callers set the chip, the flow handler and the name; none of them depends on the event-channel
// ABI (2-level or FIFO). Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "channels/interrupts.hpp"

namespace xenpv::channels {

enum class channel_kind {
  timer,     ///< per-vCPU VIRQ_TIMER
  ipi,       ///< resched, callfunc, callfuncsingle, irqwork
  spinlock,  ///< PV spinlock kicks
  debug,     ///< VIRQ_DEBUG
  pmu,       ///< VIRQ_XENPMU
  xenbus,    ///< the kernel's xenstore connection
  console,   ///< hvc_console
  device,    ///< a PV device, frontend or backend
  user,      ///< bound through /dev/xen/evtchn
  pirq,      ///< a physical interrupt delivered by Xen
  virq,      ///< any other virtual IRQ
  unbound,   ///< an unbound port, still without a remote end and an interrupt
  other,
};
[[nodiscard]] std::string_view to_string(channel_kind kind) noexcept;
/// Inverse of to_string; nullopt for an unknown name.
[[nodiscard]] std::optional<channel_kind> parse_channel_kind(std::string_view text) noexcept;

struct channel_purpose {
  channel_kind kind = channel_kind::other;
  std::string detail = {};           ///< "resched" for an IPI; the opener's name for a user channel
  std::optional<unsigned> cpu = {};  ///< set for a per-CPU interrupt: 3 for "timer3"
  friend bool operator==(const channel_purpose&, const channel_purpose&) = default;
};

/// Returns nullopt if the row is not an event channel.
[[nodiscard]] std::optional<channel_purpose> purpose_of(const interrupt_row& row);
/// Returns the first row with this purpose, or nullptr if there is none.
[[nodiscard]] const interrupt_row* find_row(const interrupt_table& table,
                                            const channel_purpose& purpose);

/// How the hypervisor notifies the guest of pending events.
enum class upcall { unknown, vector, pci_interrupt, callback };
[[nodiscard]] std::string_view to_string(upcall method) noexcept;

/// Detects the upcall method. vector: row HYP has counts (HVM, PVH; ARM has no such row).
/// pci_interrupt: row HYP has no counts, but the Xen platform PCI device has an interrupt.
/// callback: a PV guest (`is_pv`).
[[nodiscard]] upcall upcall_of(const interrupt_table& table, bool is_pv) noexcept;

/// The debugN rows exist only with the 2-level ABI (xen_smp_intr_init since 5.x).
enum class event_abi { two_level, fifo };
[[nodiscard]] std::string_view to_string(event_abi abi) noexcept;
/// Returns nullopt if the table has neither debugN rows nor IPI rows.
[[nodiscard]] std::optional<event_abi> event_abi_of(const interrupt_table& table) noexcept;

}  // namespace xenpv::channels
