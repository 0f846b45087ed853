// The inventory as JSON and as CSV.
#pragma once

#include <string>
#include <vector>

#include "channels/inventory.hpp"
#include "cli/json.hpp"

namespace xenpv::evtchn_app {

/// Each fact is {"value": ..., "source": "xenstore"} or null.
[[nodiscard]] cli::json to_json(const channels::channel& channel);
[[nodiscard]] cli::json to_json(const std::vector<channels::source_status>& sources);
/// The guest's type, upcall and event-channel ABI.
[[nodiscard]] cli::json guest_json(const channels::inventory& inventory);

/// A header and one line per channel, in the format of RFC 4180; sources have their own columns.
[[nodiscard]] std::string to_csv(const std::vector<unsigned>& cpus,
                                 const std::vector<const channels::channel*>& channels);

}  // namespace xenpv::evtchn_app
