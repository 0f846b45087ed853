// Options for driving a disk, independent of its clients; shared by serve, run, attach and bench.
#pragma once

#include <string_view>

#include "cli/command.hpp"
#include "xenpv/blkfront/options.hpp"

namespace xenpv::disk_app {

struct device_options {
  bool take = false;
  bool force = false;  ///< open the disk even if the guest uses its emulated twin
  blkfront::options frontend;
};

/// The forms of a DISK argument, for its help.
inline constexpr std::string_view disk_help =
    "name in this guest (xvda or /dev/xvda) or in the toolstack (hda), number (51712), xenstore "
    "path (device/vbd/51712), or the file or device behind the backend";

/// Adds the options that set `options`.
void add_device_options(cli::command& command, device_options& options);

}  // namespace xenpv::disk_app
