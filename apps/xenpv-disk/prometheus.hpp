// Exports the reports of served disks as metrics in the Prometheus text format. The number of
// series of a disk is fixed: there are no series for single clients or queues. Pure.
#pragma once

#include <string>
#include <vector>

#include "cli/json.hpp"
#include "server_query.hpp"

namespace xenpv::disk_app {

/// Formats answers of ask_servers(), possibly from servers of other versions: a value that a report
/// lacks has no sample. The only sample of a silent server is `xenpv_disk_up` 0. Statistics of a
/// whole server have the label `server` in place of `disk`, so that sums count them once.
[[nodiscard]] std::string to_prometheus(const server_answers& answers);

}  // namespace xenpv::disk_app
