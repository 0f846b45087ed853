// A disk being served: found, claimed, connected, exported, and taken down again. What serve and
// run have in common.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "kept_device.hpp"
#include "tls_words.hpp"
#include "xenpv/async/runtime.hpp"
#include "xenpv/base/unique_fd.hpp"
#include "xenpv/blkfront/frontend.hpp"
#include "xenpv/cli/app.hpp"
#include "xenpv/nbd/server.hpp"

namespace xenpv::disk_app {

/// The words that say which disk, and how.
struct disk_words {
  std::string disk;
  bool take = false;
  bool read_only = false;
  std::string name;  ///< of the export; empty: the disk's
  std::optional<unsigned> queues;
  unsigned max_connections = 16;
  bool swap = false;
  bool keep = false;  ///< a kernel device that a predecessor left behind is welcome
  std::chrono::nanoseconds recovery_timeout = blkfront::options{}.recovery_timeout;
};
/// DISK and how to drive it.
void add_disk_options(cli::command& command, disk_words& words);
/// What NBD clients that connect by themselves are offered.
void add_client_options(cli::command& command, disk_words& words);

/// Everything there is while a disk is served; for the control thread.
struct served_disk {
  async::runtime& on;
  std::string name;  ///< "xvdb"
  std::string export_name;
  blkfront::frontend& device;
  nbd::server& server;
  std::optional<kept_device> kept = {};  ///< left behind by a predecessor
  std::string kernel_device = {};        ///< "/dev/nbd0"; empty: none
};

/// Connects the disk, calls `body` with it, then drains clients and closes the disk in an orderly
/// way, also when `body` throws. Runs on the calling thread, which must be the only one.
void with_served_disk(const disk_words& words, const tls_settings& tls,
                      std::function<async::asio::awaitable<void>(served_disk&)> body);

}  // namespace xenpv::disk_app
