// The options that describe a simulated host, shared by all sub-commands that start one.
#pragma once

#include <string>
#include <vector>

#include "cli/command.hpp"
#include "sim/disk_spec.hpp"
#include "sim/fault_spec.hpp"
#include "sim/host.hpp"

namespace xenpv::sim_app {

struct host_settings {
  sim::host_options options;
  std::vector<std::string> faults;
};

/// Adds --domains, --cpus, --disk, --fault, --xen, --grant-limit, --allow-user and
/// --max-event-channels.
void add_host_options(cli::command& command, host_settings& settings);

/// Converts the option values. Throws a `failure` that names the invalid option, or the program or
/// file that an external backend needs and that is missing.
[[nodiscard]] sim::host_options to_options(const host_settings& settings);

}  // namespace xenpv::sim_app
