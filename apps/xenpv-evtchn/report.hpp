// The inventory as JSON and as CSV.
#pragma once

#include <string>
#include <vector>

#include "xenpv/cli/json.hpp"
#include "xenpv/diag/inventory.hpp"

namespace xenpv::evtchn_app {

/// Each fact is {"value": ..., "source": "xenstore"} or null.
[[nodiscard]] cli::json to_json(const diag::channel& channel);
[[nodiscard]] cli::json to_json(const std::vector<diag::rung>& ladder);
/// Type, upcall and ABI of the guest.
[[nodiscard]] cli::json guest_json(const diag::inventory& all);

/// A header and a line for each channel, as RFC 4180 has it; sources are columns of their own.
[[nodiscard]] std::string to_csv(const std::vector<unsigned>& cpus,
                                 const std::vector<const diag::channel*>& channels);

}  // namespace xenpv::evtchn_app
