// How far a command of `run` is, on a terminal: what it has read and written of the disk.
#pragma once

#include "served_disk.hpp"

namespace xenpv::disk_app {

/// Until cancelled. Shows nothing before the first byte, and nothing while the terminal is not
/// ours to draw on (cli::progress_line).
[[nodiscard]] async::asio::awaitable<void> show_copy_progress(served_disk& disk);

}  // namespace xenpv::disk_app
