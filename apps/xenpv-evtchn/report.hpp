// The inventory as JSON and as CSV.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "channels/inventory.hpp"
#include "cli/json.hpp"

namespace xenpv::evtchn_app {

/// Each fact is {"value": ..., "source": "xenstore"} or null.
[[nodiscard]] cli::json to_json(const channels::channel& channel);
[[nodiscard]] cli::json to_json(const std::vector<channels::source_status>& sources);
/// Returns the guest type, upcall and event-channel ABI.
[[nodiscard]] cli::json guest_json(const channels::inventory& inventory,
                                   std::optional<channels::event_abi> abi);

/// Returns CSV (RFC 4180) with a header and one line per channel. Sources have their own columns.
[[nodiscard]] std::string to_csv(const std::vector<unsigned>& cpus,
                                 const std::vector<const channels::channel*>& channels);

}  // namespace xenpv::evtchn_app
