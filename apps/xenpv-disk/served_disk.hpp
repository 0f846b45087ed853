// A disk being served: found, claimed, connected, exported, and taken down again. What serve, run
// and attach have in common.
#pragma once

#include <functional>
#include <string>

#include "device_options.hpp"
#include "kept_device.hpp"
#include "tls_words.hpp"
#include "xenpv/async/runtime.hpp"
#include "xenpv/blkfront/device_list.hpp"
#include "xenpv/blkfront/frontend.hpp"
#include "xenpv/cli/app.hpp"
#include "xenpv/nbd/server.hpp"

namespace xenpv::disk_app {

class status_socket;

struct disk_options {
  std::string disk;  ///< as the user named it
  device_options device;
  bool read_only = false;
  std::string name;  ///< of the export; empty: the disk's
  unsigned max_connections = 16;
  bool swap = false;
  bool keep = false;  ///< a kernel device that a predecessor left behind is welcome
};
/// DISK and how to drive it.
void add_disk_options(cli::command& command, disk_options& options);
/// What NBD clients that connect by themselves are offered.
void add_client_options(cli::command& command, disk_options& options);

/// A disk that is locked but neither taken nor connected yet.
struct claimed_disk {
  async::runtime& on;
  const blkfront::listed_device& disk;
  std::string export_name;
  std::optional<kept_device> kept = {};  ///< left behind by a predecessor
};

/// Everything there is while a disk is served; for the control thread.
struct served_disk {
  async::runtime& on;
  const blkfront::listed_device& disk;
  std::string name;  ///< "xvdb"
  std::string export_name;
  blkfront::frontend& device;
  nbd::server& server;
  status_socket& status;
  std::optional<kept_device> kept = {};  ///< left behind by a predecessor
  std::string kernel_device = {};        ///< "/dev/nbd0"; empty: none
  /// Clients can use it. A disk that was taken for a service that never got so far goes back to the
  /// kernel's driver.
  bool is_ready = false;
};

using disk_service = std::function<async::asio::awaitable<void>(served_disk&)>;

/// Claims the disk and calls `prepare`, which readies all else that the service needs and may fail:
/// listeners, files, the right to do things. Only then takes the disk from the kernel's driver
/// (with
/// --take), connects it and runs the service that `prepare` returned; an empty one ends this at
/// once.
///
/// Whatever fails, the disk is closed in order; one that was taken and never served is given back.
/// Runs on the calling thread, which must be the only one. Throws `failure`.
void with_served_disk(const disk_options& options, const tls_settings& tls,
                      std::function<disk_service(const claimed_disk&)> prepare);

}  // namespace xenpv::disk_app
