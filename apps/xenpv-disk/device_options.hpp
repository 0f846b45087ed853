// Options for driving a disk, independent of its clients; shared by serve, run, attach and bench.
#pragma once

#include <string>

#include "cli/command.hpp"
#include "xenpv/blkfront/options.hpp"

namespace xenpv::disk_app {

struct device_options {
  bool take = false;
  bool force = false;  ///< open the disk even if the guest uses its emulated twin
  blkfront::options frontend;
};

/// Adds the DISK argument and the options that set `options`.
void add_device_options(cli::command& command, std::string& disk, device_options& options);

}  // namespace xenpv::disk_app
