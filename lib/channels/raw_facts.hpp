// Raw facts for the inventory, read from one live or captured guest. An unreadable source is
// represented by the reason and the remedy. inventory.hpp joins the facts.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/words.hpp"
#include "channels/interrupts.hpp"
#include "channels/irq_files.hpp"
#include "channels/port_holders.hpp"
#include "channels/store_ports.hpp"
#include "xen/port_status.hpp"
#include "xenpv/base/system_root.hpp"
#include "xenpv/xen/guest.hpp"

namespace xenpv::channels {

/// A value, or the reason why it could not be read, with the remedy.
template <class T>
struct reading {
  std::optional<T> value = {};
  std::string problem = {};
  bool is_malformed = false;  ///< could be read, but not parsed
};

struct raw_facts {
  xen::guest_facts guest = {};
  reading<interrupt_table> interrupts = {};
  std::map<unsigned, irq_facts> irqs = {};  ///< affinities of event-channel interrupts
  reading<std::vector<xen::port_status>> ports = {};
  reading<store_nodes> store = {};
  /// /proc/xen/xsd_port: the kernel's own port to xenstored; set only in the control domain.
  std::optional<port> xenstored_port = {};
  std::vector<port_holder> holders = {};
};

/// The origin of the facts: this guest or a capture.
struct fact_source {
  system_root root = system_root::from_environment();
  /// True for a capture: its files are read, and xenstore and the hypervisor are not queried.
  bool is_capture = false;
};

/// Returns this guest if `root` is empty, else the unpacked capture at `root`. Throws `failure` if
/// `root` is not a capture.
[[nodiscard]] fact_source place_at(const std::string& root);

/// Reads all facts. Does not throw if a source is missing. Most sources require root. Blocks on
/// xenstore.
[[nodiscard]] raw_facts read_raw_facts(const fact_source& source);

/// Reads a number from a file. Returns nullopt if the file is unreadable or does not contain a
/// number.
template <class Number = std::uint64_t>
[[nodiscard]] std::optional<Number> read_number(const system_root& root, std::string_view path) {
  const auto text = root.read(path);
  return text ? parse_whole<Number>(trim(*text)) : std::nullopt;
}

/// Each function reads a single source.
[[nodiscard]] reading<interrupt_table> read_interrupts(const system_root& root);
[[nodiscard]] reading<std::vector<xen::port_status>> read_ports(const fact_source& source,
                                                                domid domain = domid_self);
[[nodiscard]] reading<store_nodes> read_store(const fact_source& source, bool all_domains);

}  // namespace xenpv::channels
