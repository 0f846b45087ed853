// Acts as the toolstack of a simulated guest, from a process in that guest: changes the guest's
// disks, and saves and restores the guest.
//
// Single-threaded. Uses domain 0's xenstore connection and the host's admin socket. Construct it
// before creating threads, because the constructor temporarily changes an environment variable.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "xenpv/xen/store.hpp"

namespace xenpv::sim {

class simulated_toolstack {
 public:
  simulated_toolstack();

  /// Returns a node from a disk's backend directory. `disk`: virtual device number.
  [[nodiscard]] std::optional<std::string> read(unsigned disk, const std::string& node);
  void write(unsigned disk, const std::string& node, const std::string& value);
  [[nodiscard]] std::optional<std::string> frontend_state(unsigned disk);
  /// Whether QEMU serves the disk (backend=qemu-real) instead of the simulator's own backend.
  [[nodiscard]] bool is_external(unsigned disk);
  /// The next four functions wait until the backend has applied the change. QEMU supports only
  /// restart(), which kills it and thereby restarts all its disks.
  void restart(unsigned disk);
  /// Restarts the backend and loses unflushed writes, except those selected by `seed`.
  void cut_power(unsigned disk, unsigned seed);
  void set_faults(unsigned disk, const std::string& faults);
  void resize(unsigned disk, std::uint64_t bytes);
  /// Changes a backend's state from Connected to Closing, as a backend that gives up does.
  void begin_closing(unsigned disk);
  /// Removes the backend directory, or recreates it as a toolstack would.
  void remove_backend(unsigned disk);
  void rebuild_backend(unsigned disk, const std::map<std::string, std::string>& changed = {});
  /// Removes both ends at once, like `xl block-detach --force`.
  void remove_device(unsigned disk);

  /// `storage_moved`: also migrates the disks, and each disk with a VDI gets a new UUID.
  void save_restore(bool same_number, std::chrono::milliseconds frozen, bool storage_moved = false);
  /// Simulates a cancelled suspend.
  void checkpoint(std::chrono::milliseconds frozen);
  [[nodiscard]] nlohmann::json status();
  /// Returns this guest's entry in the host status.
  [[nodiscard]] nlohmann::json own_status();

 private:
  [[nodiscard]] std::string frontend(unsigned disk) const;
  [[nodiscard]] std::string backend(unsigned disk) const;
  [[nodiscard]] nlohmann::json ask(const nlohmann::json& request) const;
  void await(unsigned disk, const std::string& node, const std::optional<std::string>& value);
  void save_nodes(const std::string& path, const std::string& prefix);

  std::string host_;
  unsigned domain_ = 0;
  xen::store store_;
  std::map<unsigned, bool> external_;         ///< results of is_external()
  std::map<std::string, std::string> saved_;  ///< nodes of the last removed directory
};

}  // namespace xenpv::sim
