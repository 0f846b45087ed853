// The options that describe a simulated host, the same for every sub-command that starts one.
#pragma once

#include <string>
#include <vector>

#include "sim/disk_spec.hpp"
#include "sim/fault_spec.hpp"
#include "sim/host.hpp"
#include "xenpv/cli/command.hpp"

namespace xenpv::sim_app {

struct host_words {
  sim::host_options options;
  std::vector<std::string> faults;
};

/// Adds --domains, --cpus, --disk, --fault, --grant-limit and --max-event-channels.
void add_host_options(cli::command& command, host_words& words);

/// What the words mean. Throws `failure` naming the one that is wrong.
[[nodiscard]] sim::host_options to_options(const host_words& words);

}  // namespace xenpv::sim_app
