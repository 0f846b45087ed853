// Statistics of a served disk, as sent over its control socket and printed by `status`.
#pragma once

#include <string>

#include "cli/json.hpp"
#include "served_disk.hpp"

namespace xenpv::disk_app {

/// Builds the full report of one served disk.
[[nodiscard]] asio::awaitable<cli::json> make_report(served_disk& disk);

/// Formats reports in the Prometheus text format.
[[nodiscard]] std::string to_prometheus(const std::vector<cli::json>& reports);

}  // namespace xenpv::disk_app
