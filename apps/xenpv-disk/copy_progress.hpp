// Shows on a terminal how much data the command that `run` executes has read and written.
#pragma once

#include "served_disk.hpp"

namespace xenpv::disk_app {

/// Runs until cancelled. Shows nothing before the first byte, and nothing while this process must
/// not draw on the terminal (cli::progress_line).
[[nodiscard]] asio::awaitable<void> show_copy_progress(asio::any_io_executor control,
                                                       served_disk& disk);

}  // namespace xenpv::disk_app
