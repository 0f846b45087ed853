// Options for driving a disk, independent of its clients; shared by serve, run, attach and bench.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>

#include "cli/command.hpp"
#include "xenpv/blkfront/options.hpp"

namespace xenpv::disk_app {

struct device_options {
  bool take = false;
  bool force = false;  ///< even if the guest uses the disk's emulated twin
  std::optional<unsigned> queues;
  std::optional<std::size_t> pages;
  std::chrono::nanoseconds request_deadline{};  ///< 0: none
  std::chrono::nanoseconds recovery_timeout = blkfront::options{}.recovery_timeout;
  bool strict_flush = false;
  bool trust_backend_cache = false;
};

/// Adds the DISK argument, and an option for each member of device_options.
void add_device_options(cli::command& command, std::string& disk, device_options& options);

[[nodiscard]] blkfront::options frontend_options(const device_options& options);

}  // namespace xenpv::disk_app
