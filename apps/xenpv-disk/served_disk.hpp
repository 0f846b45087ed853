// Serves a disk: finds, claims, connects and exports the disk, and shuts it down. Shared by serve,
// run and attach.
#pragma once

#include <functional>
#include <string>

#include "cli/app.hpp"
#include "device_options.hpp"
#include "kept_device.hpp"
#include "tls_options.hpp"
#include "xenpv/async/runtime.hpp"
#include "xenpv/blkfront/device_list.hpp"
#include "xenpv/blkfront/frontend.hpp"
#include "xenpv/nbd/server.hpp"

namespace xenpv::disk_app {

class status_socket;

struct disk_options {
  std::string disk;  ///< as the user named it
  device_options device;
  bool read_only = false;
  std::string name;  ///< export name; empty: the disk's name
  unsigned max_connections = 16;
  bool swap = false;
  bool keep = false;  ///< accept a kernel device that a previous server left behind
};
/// Adds the DISK argument and the options for driving the disk.
void add_disk_options(cli::command& command, disk_options& options);
/// Adds the options for NBD clients.
void add_client_options(cli::command& command, disk_options& options);

/// A disk that is locked, but neither taken over nor connected yet.
struct claimed_disk {
  async::runtime& runtime;
  const blkfront::listed_device& disk;
  std::string export_name;
  std::optional<kept_device> kept = {};  ///< left behind by a previous server
};

/// The objects that serve one disk. Use on the control thread.
struct served_disk {
  async::runtime& runtime;
  const blkfront::listed_device& disk;
  std::string name;  ///< "xvdb"
  std::string export_name;
  blkfront::frontend& device;
  nbd::server& server;
  status_socket& status;
  std::optional<kept_device> kept = {};  ///< left behind by a previous server
  std::string kernel_device = {};        ///< "/dev/nbd0"; empty without a kernel device
  /// True once clients can use the disk. A disk that was taken over but never became ready is
  /// returned to the kernel driver.
  bool is_ready = false;
};

using disk_service = std::function<asio::awaitable<void>(served_disk&)>;

/// Claims the disk and calls `prepare`, which must complete everything else that the service needs
/// and that may fail: listeners, files, privileges. Then takes the disk over from the kernel driver
/// (with --take), connects it and runs the service that `prepare` returned. If `prepare` returned
/// an empty service, returns immediately and leaves the disk as it is.
///
/// Closes the disk properly after any failure. Returns a disk that was taken over, but never
/// served, to the kernel driver. Runs on the calling thread, which must be the only one. Throws
/// `failure`.
void with_served_disk(const disk_options& options, const tls_settings& tls,
                      std::function<disk_service(const claimed_disk&)> prepare);

}  // namespace xenpv::disk_app
