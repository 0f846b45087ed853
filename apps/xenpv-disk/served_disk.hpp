// Serves one or several disks with one NBD server: finds, claims, connects and exports the disks,
// and shuts them down. Shared by serve, run and attach.
#pragma once

#include <boost/asio/signal_set.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "blk/partition_table.hpp"
#include "claim.hpp"
#include "cli/app.hpp"
#include "confinement.hpp"
#include "device_options.hpp"
#include "export_spec.hpp"
#include "kept_device.hpp"
#include "kernel_device.hpp"
#include "tls_options.hpp"
#include "ublk/parameters.hpp"
#include "xenpv/async/runtime.hpp"
#include "xenpv/blkfront/frontend.hpp"
#include "xenpv/nbd/server.hpp"

namespace xenpv::disk_app {

class control_socket;

struct server_settings {
  std::vector<export_spec> exports;  ///< at least one
  // These apply to all exports, or to the only one; see apply_common_options().
  std::string name;
  export_part part;
  bool read_only = false;

  device_options device;
  unsigned max_connections = 16;
  std::chrono::nanoseconds progress_limit{};
  std::uint64_t memory_limit = nbd::server_options{}.memory_limit;  ///< in bytes
  bool swap = false;
  bool keep = false;  ///< accept a kernel device that a previous server left behind

  /// Options for dropping privileges; unset: the server keeps them, because it executes a command.
  std::optional<confinement_options> confined;
  confinement_needs needs = {};
};
/// Adds the argument for the only disk.
void add_disk_argument(cli::command& command, server_settings& settings);
/// Adds the options for driving the disks.
void add_disk_options(cli::command& command, server_settings& settings);
/// Adds the options for NBD clients.
void add_client_options(cli::command& command, server_settings& settings);

/// A disk that is locked, but neither taken over nor connected yet.
struct claimed_disk {
  locked_disk held;
  std::vector<export_spec> exports;  ///< with names
  /// For each export, its partition, if it has one; set once the disk is connected.
  std::vector<std::optional<blk::partition>> partitions = {};

  /// "xvdb".
  [[nodiscard]] const std::string& name() const noexcept { return held.disk.name; }
};

/// The disks of a server before they are connected, in the order in which the user named them.
struct claimed_disks {
  async::runtime& runtime;
  const std::vector<claimed_disk>& disks;  ///< at least one
  const tls_settings& tls;
  confinement* confined;  ///< null: the server keeps its privileges
};

/// The kernel device of a disk, as the disk's report shows it.
struct attached_as {
  kernel_device device;
  std::optional<ublk::device_plan> plan = {};  ///< of a ublk device
};

/// One disk of a running server.
struct served_disk {
  const claimed_disk& claimed;
  std::string name;  ///< "xvdb"
  blkfront::frontend& device;
  control_socket& control;
  std::optional<attached_as> attached = {};  ///< set once it is a kernel device
};

/// A running server and its disks. Use on the control thread.
struct disk_server {
  async::runtime& runtime;
  nbd::server& server;
  asio::signal_set& signals;        ///< catches SIGTERM and SIGINT since the disks are connected
  std::vector<served_disk> disks;   ///< at least one
  std::string name;                 ///< of all disks, for messages: "xvdb, xvdc"
  confinement* confined = nullptr;  ///< null: the server keeps its privileges
  /// True once clients can use the disks. A disk that was taken over but never became ready is
  /// returned to the kernel driver.
  bool is_ready = false;
};

/// The functions of a command for the connected disks. All run on the control thread.
struct disk_service {
  /// Opens the resources that need privileges, before the server drops them. May be empty. If it
  /// throws, it has undone its work.
  std::function<asio::awaitable<void>(disk_server&)> open = {};
  /// Serves the disks until the service ends.
  std::function<asio::awaitable<void>(disk_server&)> serve = {};
  /// Undoes open() if serve() was not called. May be empty.
  std::function<asio::awaitable<void>()> abandon = {};
};

/// Starts a server, in this order: limits, helpers, the custodian, keys, devices, disks, listeners,
/// disk_service::open(); then it drops its privileges and serves.
///
/// Claims the disks and calls `prepare`, which must complete everything else that the service needs
/// and that may fail: listeners, files, privileges. Then takes the disks over from the kernel
/// driver (with --take), connects them and runs the service that `prepare` returned. If that has no
/// serve(), returns immediately and leaves the disks unchanged.
///
/// Closes the disks properly after any failure. Returns disks that were taken over, but never
/// served, to the kernel driver. Runs on the calling thread, which must be the only one. Throws
/// `failure`.
void with_disk_server(const server_settings& settings, const tls_options& tls,
                      std::function<disk_service(const claimed_disks&)> prepare);

}  // namespace xenpv::disk_app
