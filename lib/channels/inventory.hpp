// Inventory of a guest's event channels, joined from all sources: each channel's purpose,
// interrupt, port, remote end, CPUs and counts. Each fact records its source, because some facts
// are read and others inferred. Pure: raw facts in, inventory out.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "channels/channel_kind.hpp"
#include "channels/raw_facts.hpp"

namespace xenpv::channels {

/// The source of a fact, most trustworthy first.
enum class evidence {
  hypervisor,  ///< EVTCHNOP_status through privcmd
  xenstore,    ///< a node written by the frontend
  proc,        ///< /proc/interrupts, /proc/irq, /proc/PID
  sys,         ///< /sys
  name,        ///< inferred: the name matches only this channel
  order,       ///< inferred: ambiguous name, matched by binding order; uncertain
};
[[nodiscard]] std::string_view to_string(evidence source) noexcept;

template <class T>
struct sourced {
  T value{};
  evidence from = evidence::proc;
};
template <class T>
using fact = std::optional<sourced<T>>;

struct channel {
  channel_kind kind = channel_kind::other;
  std::string name = {};                ///< interrupt name; empty without an interrupt
  std::string detail = {};              ///< see channel_purpose
  std::optional<unsigned> irq = {};     ///< from /proc/interrupts; unset without an interrupt
  std::string chip = {};                ///< "xen-dyn"
  bool is_per_cpu = false;              ///< the kernel refuses to move it
  std::optional<unsigned> of_cpu = {};  ///< set only for a channel that belongs to one CPU
  /// In the order of inventory::cpus; empty without an interrupt.
  std::vector<std::uint64_t> counts = {};
  fact<port> number = {};
  fact<xen::port_type> type = {};
  fact<unsigned> vcpu = {};  ///< the vCPU that the hypervisor notifies
  fact<domid> remote_domain = {};
  fact<port> remote_port = {};
  fact<std::uint32_t> virq = {};
  fact<std::uint32_t> pirq = {};
  fact<std::string> device = {};  ///< "device/vif/0"
  fact<unsigned> queue = {};
  fact<std::string> role = {};  ///< "tx"
  fact<unsigned> process = {};
  fact<std::vector<unsigned>> allowed = {};
  fact<std::vector<unsigned>> effective = {};

  [[nodiscard]] std::uint64_t total() const noexcept;
  [[nodiscard]] bool can_move() const noexcept { return irq.has_value() && !is_per_cpu; }
};

struct source_status {
  std::string name = {};  ///< "hypervisor"
  bool used = false;
  std::string gives = {};  ///< the facts that the source provides
  std::string needs = {};  ///< if the source is not used: the reason and the remedy
};

struct inventory {
  std::vector<unsigned> cpus = {};  ///< count columns
  /// Channels with an interrupt come first, sorted by IRQ number; the others follow, sorted by
  /// port.
  std::vector<channel> channels = {};
  std::vector<source_status> ladder = {};  ///< sources, best first
  xen::guest_type guest = xen::guest_type::none;
  bool is_control_domain = false;
  upcall delivery = upcall::unknown;
  std::vector<std::string> problems = {};  ///< read and parse errors

  /// Returns the event count of each CPU, summed over all channels, in the order of `cpus`.
  [[nodiscard]] std::vector<std::uint64_t> events_per_cpu() const;
};

[[nodiscard]] inventory make_inventory(const raw_facts& facts);

/// Builds an inventory of another domain's ports. That domain's interrupts are not visible here.
[[nodiscard]] inventory make_port_inventory(const std::vector<xen::port_status>& ports);

}  // namespace xenpv::channels
