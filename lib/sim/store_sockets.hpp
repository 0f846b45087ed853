// The simulated xenstored's sockets: one listener per domain and any number of connections.
// Transfers bytes between the connections and store_service, and simulates a slow or vanished
// daemon. Used only on the host thread.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "sim/fault_spec.hpp"
#include "sim/reactor.hpp"
#include "sim/store_service.hpp"
#include "xenpv/base/types.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::sim {

class store_sockets {
 public:
  /// `allowed_user`: see listen_at().
  store_sockets(reactor& loop, store_service& store, std::optional<uid_t> allowed_user)
      : reactor_(loop), store_(store), allowed_user_(allowed_user) {}
  ~store_sockets();

  /// Listens at `path` for the domain in `slot`.
  void open(std::uint8_t slot, domid domain, std::filesystem::path path);
  /// Closes the listener and all connections of the slot.
  void close(std::uint8_t slot);
  /// Assigns new connections of the slot to `domain`, after a restore changed the domain ID.
  void rename(std::uint8_t slot, domid domain);

  void set_faults(const fault_switches& faults);
  /// Sends the output that the service has queued for all connections. Call it after each use of
  /// the service.
  void flush();

 private:
  struct connection;
  struct listener {
    unique_fd socket;
    domid domain{};
    std::filesystem::path path;
  };
  void accept(std::uint8_t slot);
  void readable(const std::shared_ptr<connection>& peer);
  void feed(const std::shared_ptr<connection>& peer, const std::vector<std::byte>& bytes);
  void send(connection& peer);
  void drop(const std::shared_ptr<connection>& peer);
  void vanish();
  void listen(std::uint8_t slot, listener& endpoint);

  reactor& reactor_;
  store_service& store_;
  std::optional<uid_t> allowed_user_;
  std::map<std::uint8_t, listener> listeners_;
  std::map<store_service::connection_id, std::shared_ptr<connection>> connections_;
  std::chrono::nanoseconds delay_{};
  std::uint32_t vanish_after_ = 0;
  bool vanished_ = false;
};

}  // namespace xenpv::sim
