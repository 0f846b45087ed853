// The commands of xenpv-evtchn. Each function adds one command to the app.
#pragma once

#include "cli/app.hpp"

namespace xenpv::evtchn_app {

void add_list(cli::app& app);
void add_ping(cli::app& app);
void add_balance(cli::app& app);
void add_affinity(cli::app& app);
void add_capture(cli::app& app);
void add_watch(cli::app& app);

}  // namespace xenpv::evtchn_app
