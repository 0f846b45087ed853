// The raw facts for the inventory, as read: one moment of one guest, live or captured. A source
// that provides nothing states the reason and the remedy. Joins nothing (inventory.hpp does).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "channels/interrupts.hpp"
#include "channels/irq_files.hpp"
#include "channels/port_holders.hpp"
#include "channels/store_ports.hpp"
#include "xen/port_status.hpp"
#include "xenpv/base/system_root.hpp"
#include "xenpv/xen/guest.hpp"

namespace xenpv::channels {

/// A value that was read, or the reason why not and the remedy.
template <class T>
struct reading {
  std::optional<T> value = {};
  std::string problem = {};
};

struct raw_facts {
  xen::guest_facts guest = {};
  reading<interrupt_table> interrupts = {};
  std::map<unsigned, irq_facts> irqs = {};  ///< affinities of the rows that are event channels
  reading<std::vector<xen::port_status>> ports = {};
  reading<store_nodes> store = {};
  /// /proc/xen/xsd_port: the kernel's own port to xenstored, in the control domain only.
  std::optional<port> xenstored_port = {};
  std::vector<port_holder> holders = {};
};

/// The place that facts are read from.
struct fact_source {
  system_root root = system_root::from_environment();
  /// A capture: its files are read instead of querying xenstore and the hypervisor.
  bool is_capture = false;
};

/// This guest if `root` is empty, else the unpacked capture at `root`. Throws `failure` if that is
/// not a capture.
[[nodiscard]] fact_source place_at(const std::string& root);

/// Reads all facts. Does not throw for sources that the guest lacks. Most sources need root. Blocks
/// on xenstore.
[[nodiscard]] raw_facts read_raw_facts(const fact_source& source);

/// The individual sources.
[[nodiscard]] reading<interrupt_table> read_interrupts(const system_root& root);
[[nodiscard]] reading<std::vector<xen::port_status>> read_ports(const fact_source& source,
                                                                domid domain = domid_self);
[[nodiscard]] reading<store_nodes> read_store(const fact_source& source, bool all_domains);

}  // namespace xenpv::channels
