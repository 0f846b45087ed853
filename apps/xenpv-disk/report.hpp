// The numbers of a served disk, as its control socket tells them and `status` prints them.
#pragma once

#include <string>

#include "served_disk.hpp"
#include "xenpv/cli/json.hpp"

namespace xenpv::disk_app {

/// Everything about one served disk.
[[nodiscard]] async::asio::awaitable<cli::json> make_report(served_disk& disk);

/// In the text format of Prometheus, from reports.
[[nodiscard]] std::string to_prometheus(const std::vector<cli::json>& reports);

}  // namespace xenpv::disk_app
