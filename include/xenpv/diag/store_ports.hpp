// The event-channel ports that PV front ends publish in xenstore: the way to learn a device's port
// in a guest that may make no hypercalls. The parsers are pure; read_store_nodes asks xenstore and
// blocks for a round trip a node.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/error.hpp"
#include "xenpv/base/types.hpp"

namespace xenpv::xen {
class store;
}

namespace xenpv::diag {

/// Value by path; relative to the domain's home for what is its own.
using store_nodes = std::map<std::string, std::string, std::less<>>;

/// One published port.
struct store_port {
  std::string device = {};             ///< "device/vif/0", "console", "store"
  std::string type = {};               ///< "vif", "vbd", "console", "store"
  std::string number = {};             ///< "0", "51712"; empty for console and store
  std::optional<unsigned> queue = {};  ///< of multi-queue devices
  std::string role = {};     ///< "tx", "rx", "ctrl"; empty for a device with one per queue
  port number_of_port{};     ///< a port of the domain that published it
  domid owner = domid_self;  ///< that domain; domid_self for relative paths
  domid backend = domid_0;
  std::string node = {};  ///< where it stands
};

/// Sorted by owner, then port. Nodes that hold no port number are left out: they are the other
/// side's to write, or ours from before a restart.
[[nodiscard]] std::vector<store_port> find_store_ports(const store_nodes& nodes);

/// `path = "value"` lines, as `xenstore-ls -f` prints them; others are skipped.
[[nodiscard]] store_nodes parse_store_listing(std::string_view text);
[[nodiscard]] std::string format_store_listing(const store_nodes& nodes);

/// What find_store_ports needs: the device, console and store nodes of this domain and, with
/// `of_all_domains`, of every other that may be read. Throws `failure` when xenstore is not there.
[[nodiscard]] store_nodes read_store_nodes(const xen::store& store, bool of_all_domains);

}  // namespace xenpv::diag
