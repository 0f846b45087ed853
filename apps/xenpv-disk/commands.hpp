// The commands of xenpv-disk. Each function adds one command to the app.
#pragma once

#include "cli/app.hpp"

namespace xenpv::disk_app {

void add_list(cli::app& app);
void add_serve(cli::app& app);
void add_run(cli::app& app);
void add_attach(cli::app& app);
void add_detach(cli::app& app);
void add_release(cli::app& app);
void add_status(cli::app& app);
void add_reload(cli::app& app);
void add_disconnect(cli::app& app);
void add_bench(cli::app& app);

}  // namespace xenpv::disk_app
