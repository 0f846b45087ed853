// The event channels of a guest, joined from all sources: what each is for, its interrupt, port and
// other end, where it is delivered and how often. Every fact says where it comes from, because some
// are read and some are concluded. Pure: readings in, inventory out.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/diag/channel_kind.hpp"
#include "xenpv/diag/readings.hpp"

namespace xenpv::diag {

/// Where a fact comes from, the most trustworthy first.
enum class evidence {
  hypervisor,  ///< EVTCHNOP_status through privcmd
  xenstore,    ///< a node the front end wrote
  proc,        ///< /proc/interrupts, /proc/irq, /proc/PID
  sys,         ///< /sys
  name,        ///< concluded: the name fits only this one
  order,       ///< concluded: several of one name, taken in the order they were bound. Not certain
};
[[nodiscard]] std::string_view to_string(evidence from) noexcept;

template <class T>
struct known {
  T value{};
  evidence from = evidence::proc;
};
template <class T>
using fact = std::optional<known<T>>;

struct channel {
  channel_kind kind = channel_kind::other;
  std::string name = {};                ///< of the interrupt; of a port without one: what it is
  std::string detail = {};              ///< as in channel_purpose
  std::optional<unsigned> irq = {};     ///< from /proc/interrupts; unset: only the port is known
  std::string chip = {};                ///< "xen-dyn"
  std::optional<unsigned> of_cpu = {};  ///< belongs to this CPU and cannot move
  std::vector<std::uint64_t> counts =
      {};  ///< in the order of inventory::cpus; empty without an interrupt
  fact<port> number = {};
  fact<xen::port_type> type = {};
  fact<unsigned> vcpu = {};  ///< whom the hypervisor notifies
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
  /// False for what belongs to one CPU: the kernel refuses (EIO).
  [[nodiscard]] bool can_move() const noexcept { return irq.has_value() && !of_cpu; }
};

/// One rung of the source ladder.
struct rung {
  std::string name = {};  ///< "hypervisor"
  bool used = false;
  std::string gives = {};  ///< what one learns there
  std::string needs = {};  ///< when not used: why, and what would open it
};

struct inventory {
  std::vector<unsigned> cpus = {};  ///< columns of the counts
  std::vector<channel> channels =
      {};  ///< those with an interrupt by its number, then the others by port
  std::vector<rung> ladder = {};  ///< best first
  xen::guest_type guest = xen::guest_type::none;
  bool is_control_domain = false;
  upcall delivery = upcall::unknown;
  std::optional<event_abi> abi = {};
  std::vector<std::string> problems = {};  ///< what could not be read or did not parse

  /// Events counted on each CPU, over all channels; in the order of `cpus`.
  [[nodiscard]] std::vector<std::uint64_t> events_per_cpu() const;
};

[[nodiscard]] inventory make_inventory(const readings& from);

/// The ports of some other domain, which has no interrupts to look at from here.
[[nodiscard]] inventory make_port_inventory(const std::vector<xen::port_status>& ports);

}  // namespace xenpv::diag
