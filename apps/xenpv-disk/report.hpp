// Statistics of a served disk, as sent over its control socket and printed by `status`.
#pragma once

#include "cli/json.hpp"
#include "served_disk.hpp"

namespace xenpv::disk_app {

/// Builds the full report of one disk of a server. packaging/schema/xenpv-disk-status.schema.json
/// describes it. Call on the control thread.
[[nodiscard]] asio::awaitable<cli::json> make_report(disk_server& server, served_disk& disk);

}  // namespace xenpv::disk_app
