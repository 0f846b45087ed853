// The external backends of a host: starts them when a guest is created, ends them with the guest
// and the host, and restarts them on request. As with libxl, one QEMU serves all QEMU disks of a
// guest; each disk with a command has a separate process. The backends run in domain 0, log to
// files in the host's directory, and are not restarted when they exit unexpectedly. Used only on
// the host thread.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sim/disk_spec.hpp"
#include "sim/reactor.hpp"
#include "sim/store_service.hpp"
#include "xenpv/base/types.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::sim {

class external_backends {
 public:
  /// Called once with an empty text, or with a description of the problem.
  using done_function = std::function<void(const std::string& problem)>;

  /// `flush_store` sends the events that a change of `store` has caused.
  external_backends(reactor& loop, store_service& store, std::function<void()> flush_store,
                    std::filesystem::path host_directory);
  ~external_backends();
  external_backends(const external_backends&) = delete;
  external_backends& operator=(const external_backends&) = delete;

  /// Starts the external backends of the guest's disks, whose nodes must exist. `guest`: the
  /// guest's name. Logs the problem if a backend cannot be started; await_announced() reports it.
  void start(domid domain, const std::string& guest, std::span<const disk_spec> disks);
  /// Kills the guest's backends and waits until they have ended. Call it before the guest's nodes
  /// are removed: QEMU would remove the frontends' directories, too.
  void stop(domid domain);
  void stop_all();

  /// Calls `done` when every backend has announced its disks (in xenstore, with a state other than
  /// Initialising), has ended, or has taken too long. A backend that ended or took too long is a
  /// problem.
  void await_announced(done_function done);
  /// Kills the backend of a disk, resets the nodes of its disks as if the toolstack had just
  /// created them, and starts it again. Calls `done` when the disks are announced again. Throws
  /// `failure` if the disk has no external backend, or if it is being restarted.
  void restart(domid domain, std::uint32_t device, done_function done);

  struct backend_status {
    domid domain{};
    std::string backend;             ///< "qemu-real" or "exec"
    std::vector<std::string> disks;  ///< names, such as "xvdb"
    std::optional<pid_t> process;    ///< nullopt: not running
    unsigned restarts = 0;
    std::filesystem::path log;
  };
  [[nodiscard]] std::vector<backend_status> status() const;

 private:
  struct backend;
  using backend_pointer = std::shared_ptr<backend>;

  void add(backend fresh);
  void launch(backend& target);
  void relaunch(const backend_pointer& target, const done_function& done);
  void watch_children();
  void reap();
  /// Calls `then` when `reached` returns true or the time limit has passed.
  void poll(reactor::clock::time_point limit, std::function<bool()> reached,
            std::function<void()> then);

  [[nodiscard]] std::optional<std::string> read(const std::string& path) const;
  [[nodiscard]] bool is_announced(const backend& target) const;
  /// Returns an empty text if the backend runs and has announced its disks.
  [[nodiscard]] std::string problem_of(const backend& target) const;
  [[nodiscard]] bool has_stale_frontend(domid domain, const disk_spec& disk) const;
  void reset_backend_nodes(domid domain, const disk_spec& disk);
  void reset_stale_frontend(domid domain, const disk_spec& disk);

  reactor& reactor_;
  store_service& store_;
  std::function<void()> flush_store_;
  std::filesystem::path directory_;
  unique_fd child_signals_;  ///< signalfd(2) for SIGCHLD; opened with the first backend
  std::vector<backend_pointer> backends_;
};

}  // namespace xenpv::sim
