// The sub-commands of xenpv-sim. Each function adds one or more of them to `app`; lib/sim
// implements most of their work.
#pragma once

#include "cli/app.hpp"

namespace xenpv::sim_app {

void add_run(cli::app& app);
void add_host_commands(cli::app& app);  ///< start, exec, domain, fault, status, virq, stop
void add_disk(cli::app& app);
void add_demo(cli::app& app);
void add_ping(cli::app& app);

}  // namespace xenpv::sim_app
