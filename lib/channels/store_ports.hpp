// The event-channel ports that PV frontends publish in xenstore: the way to determine a device's
// port in a guest whose programs cannot make hypercalls. The parsers are pure; read_store_nodes
// queries xenstore and blocks for one round trip per node.
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

namespace xenpv::channels {

/// Values keyed by path. Paths of this domain's own nodes are relative to its home directory in
/// xenstore.
using store_nodes = std::map<std::string, std::string, std::less<>>;

/// One published port.
struct store_port {
  std::string device = {};             ///< "device/vif/0", "console", "store"
  std::string type = {};               ///< "vif", "vbd", "console", "store"
  std::string number = {};             ///< "0", "51712"; empty for console and store
  std::optional<unsigned> queue = {};  ///< of a multi-queue device
  std::string role = {};     ///< "tx", "rx", "ctrl"; empty for a device with one port per queue
  port number_of_port{};     ///< a port of the domain that published it
  domid owner = domid_self;  ///< that domain; domid_self for relative paths
  domid backend = domid_0;
  std::string node = {};  ///< path of the node
};

/// Sorted by owner, then port. Skips nodes without a port number: the peer publishes the port, or
/// the node is stale, left from before a restart.
[[nodiscard]] std::vector<store_port> find_store_ports(const store_nodes& nodes);

/// Parses `path = "value"` lines, the output format of `xenstore-ls -f`; skips other lines.
[[nodiscard]] store_nodes parse_store_listing(std::string_view text);
[[nodiscard]] std::string format_store_listing(const store_nodes& nodes);

/// Reads the input for find_store_ports(): the device, console and store nodes of this domain and,
/// with `all_domains`, of every other domain that is readable. Throws `failure` if xenstore is
/// unavailable.
[[nodiscard]] store_nodes read_store_nodes(const xen::store& store, bool all_domains);

}  // namespace xenpv::channels
