// The toolstack's and the host's side of a simulated guest, from within one of its processes: what
// somebody does to the guest's disks and to the guest itself while the process is at work.
//
// For one thread. Talks to domain 0's xenstore and to the host's admin socket; to be made before
// the program has threads, because it borrows an environment variable for that.
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
  /// Each waits until the backend has obeyed.
  void restart(unsigned disk);
  /// The same without what was not flushed, of which chance keeps some, as with `seed`.
  void cut_power(unsigned disk, unsigned seed);
  void set_faults(unsigned disk, const std::string& words);
  void resize(unsigned disk, std::uint64_t bytes);
  /// Puts the state of a backend that is Connected to Closing, as one does that has had enough.
  void begin_closing(unsigned disk);
  /// The directory goes, and comes back as a toolstack would make it.
  void remove_backend(unsigned disk);
  void rebuild_backend(unsigned disk, const std::map<std::string, std::string>& changed = {});
  /// Both ends at once, as `xl block-detach --force`.
  void remove_device(unsigned disk);

  /// `storage_moved`: the disks are migrated, too; those with a VDI come back with another UUID.
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
  std::map<std::string, std::string> saved_;  ///< of the directory removed last
};

}  // namespace xenpv::sim
