// Classifies a Xen guest's interrupts by their rows in /proc/interrupts. drivers/xen/events and its
// callers set the chip, the flow handler and the name; none of them depends on the event-channel
// ABI (2-level or FIFO). Also knows the chips of XenLinux, the PV kernels before paravirt_ops
// (2.6.16 to 2.6.18 and distributions until 3.x): "Dynamic-irq" and "Phys-irq", later "Dynamic" and
// "Phys" (drivers/xen/core/evtchn.c there). Pure.
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

/// Whether the kernel refuses to move the interrupt, because it belongs to one CPU or is per-CPU.
[[nodiscard]] bool is_per_cpu(const interrupt_row& row);

/// Whether the rows are those of XenLinux, which runs only in PV domains and has only the 2-level
/// ABI.
[[nodiscard]] bool is_xenlinux(const interrupt_table& table) noexcept;

/// Whether the rows are those of an ARM machine: GIC chips or IPIN rows. x86 kernels print neither.
[[nodiscard]] bool is_arm(const interrupt_table& table) noexcept;

/// How the hypervisor notifies the guest of pending events.
enum class upcall {
  unknown,
  vector,
  pci_interrupt,
  callback,
  percpu_interrupt,  ///< ARM: a private peripheral interrupt on each vCPU
  per_vcpu,          ///< x86: a vector or the PV callback; the rows do not show which
};
[[nodiscard]] std::string_view to_string(upcall method) noexcept;

/// Detects the upcall method. vector: row HYP has counts (HVM, PVH). pci_interrupt: row HYP has no
/// counts, but the Xen platform PCI device has an interrupt. callback: a PV guest (`is_pv`).
/// percpu_interrupt: the row "events" of a GIC (arch/arm/xen/enlighten.c). per_vcpu: there is no
/// row HYP, as in old kernels, but per-vCPU timers or IPIs arrived. An HVM guest sets these up
/// only if it has the vector (xen_hvm_init_time_ops, xen_hvm_smp_init).
[[nodiscard]] upcall upcall_of(const interrupt_table& table, bool is_pv) noexcept;

/// The rows alone do not show the ABI; doctor/event_abi.hpp finds it.
enum class event_abi { two_level, fifo };
[[nodiscard]] std::string_view to_string(event_abi abi) noexcept;

}  // namespace xenpv::channels
