// The toolstack's and the host's side of a simulated guest, driven by a process of that guest:
// changes the guest's disks, and saves or restores the guest.
//
// For one thread. Talks to domain 0's xenstore and to the host's admin socket. Construct it before
// the program has threads, because it changes an environment variable for a moment.
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

  /// A node of the backend's directory of a disk, by its virtual device number.
  [[nodiscard]] std::optional<std::string> read(unsigned disk, const std::string& node);
  void write(unsigned disk, const std::string& node, const std::string& value);
  [[nodiscard]] std::optional<std::string> frontend_state(unsigned disk);
  /// These wait until the backend has applied the change.
  void restart(unsigned disk);
  /// A restart that loses unflushed writes; `seed` selects which of them survive.
  void cut_power(unsigned disk, unsigned seed);
  void set_faults(unsigned disk, const std::string& faults);
  void resize(unsigned disk, std::uint64_t bytes);
  /// Sets the state of a Connected backend to Closing, as a backend that gives up would.
  void begin_closing(unsigned disk);
  /// Removes the backend's directory, and recreates it as a toolstack would.
  void remove_backend(unsigned disk);
  void rebuild_backend(unsigned disk, const std::map<std::string, std::string>& changed = {});
  /// Removes both ends at once, as `xl block-detach --force` does.
  void remove_device(unsigned disk);

  /// `storage_moved`: the disks migrate, too; a disk with a VDI gets another UUID.
  void save_restore(bool same_number, std::chrono::milliseconds frozen, bool storage_moved = false);
  /// A suspend that is cancelled.
  void checkpoint(std::chrono::milliseconds frozen);
  [[nodiscard]] nlohmann::json status();
  /// The entry of this guest.
  [[nodiscard]] nlohmann::json own_status();

 private:
  [[nodiscard]] std::string backend(unsigned disk) const;
  [[nodiscard]] nlohmann::json ask(const nlohmann::json& request) const;
  void await(unsigned disk, const std::string& node, const std::optional<std::string>& value);
  void save_nodes(const std::string& path, const std::string& prefix);

  std::string host_;
  unsigned domain_ = 0;
  xen::store store_;
  std::map<std::string, std::string> saved_;  ///< nodes of the directory removed last
};

}  // namespace xenpv::sim
