// Event-channel ports that PV frontends publish in xenstore. They identify a device's port even in
// guests whose programs cannot make hypercalls. The parsers are pure; read_store_nodes queries
// xenstore and blocks for one round trip per node.
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

/// Node values by path. Paths of this domain's own nodes are relative to its home directory in
/// xenstore.
using store_nodes = std::map<std::string, std::string, std::less<>>;

struct store_port {
  std::string device = {};             ///< "device/vif/0", "console", "store"
  std::string type = {};               ///< "vif", "vbd", "console", "store"
  std::string number = {};             ///< "0", "51712"; empty for console and store
  std::optional<unsigned> queue = {};  ///< set only for a multi-queue device
  std::string role = {};     ///< "tx", "rx", "ctrl"; empty for a device with one port per queue
  port number_of_port{};     ///< port number in the publishing domain
  domid owner = domid_self;  ///< publishing domain; domid_self for relative paths
  domid backend = domid_0;
  std::string node = {};  ///< xenstore path
};

/// Returns the ports sorted by owner, then by port number. Skips nodes without a valid port number:
/// either the peer publishes the port, or the node is left over from before a restart.
[[nodiscard]] std::vector<store_port> find_store_ports(const store_nodes& nodes);

/// Parses `path = "value"` lines, the output format of `xenstore-ls -f`; skips other lines.
[[nodiscard]] store_nodes parse_store_listing(std::string_view text);
[[nodiscard]] std::string format_store_listing(const store_nodes& nodes);

/// Reads the input for find_store_ports(): the device, console and store nodes of this domain and,
/// with `all_domains`, of every other readable domain. Throws `failure` if xenstore is unavailable.
[[nodiscard]] store_nodes read_store_nodes(const xen::store& store, bool all_domains);

}  // namespace xenpv::channels
