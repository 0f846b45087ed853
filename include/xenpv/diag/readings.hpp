// Everything the inventory is made of, as it was read: one moment of one guest, live or captured.
// Each source that gave nothing says why, and what would open it: the source ladder. Joins nothing
// (inventory.hpp does).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "xenpv/base/system_root.hpp"
#include "xenpv/diag/interrupts.hpp"
#include "xenpv/diag/irq_files.hpp"
#include "xenpv/diag/port_holders.hpp"
#include "xenpv/diag/store_ports.hpp"
#include "xenpv/xen/guest.hpp"
#include "xenpv/xen/port_status.hpp"

namespace xenpv::diag {

/// What was read, or why not and what would be needed.
template <class T>
struct reading {
  std::optional<T> value = {};
  std::string problem = {};
};

struct readings {
  xen::guest_facts guest = {};
  reading<interrupt_table> interrupts = {};
  std::map<unsigned, irq_facts> irqs = {};  ///< affinities of the rows that are event channels
  reading<std::vector<xen::port_status>> ports = {};
  reading<store_nodes> store = {};
  /// /proc/xen/xsd_port: the kernel's own port to xenstored, in the control domain only.
  std::optional<port> xenstored_port = {};
  std::vector<port_holder> holders = {};
};

/// Where to look.
struct reading_place {
  system_root root = system_root::from_environment();
  /// A capture: xenstore and hypervisor are not asked, what the capture noted of them is read.
  bool is_capture = false;
};

/// This guest, or with a `root` that is not empty the unpacked capture there. Throws `failure` when
/// it is none.
[[nodiscard]] reading_place place_at(const std::string& root);

/// Reads all. Throws nothing for what a guest lacks. Needs root for most of the ladder, and blocks
/// on xenstore.
[[nodiscard]] readings read_all(const reading_place& place);

/// The parts, for those who need only them.
[[nodiscard]] reading<interrupt_table> read_interrupts(const system_root& root);
[[nodiscard]] reading<std::vector<xen::port_status>> read_ports(const reading_place& place,
                                                                domid domain = domid_self);
[[nodiscard]] reading<store_nodes> read_store(const reading_place& place, bool of_all_domains);

}  // namespace xenpv::diag
