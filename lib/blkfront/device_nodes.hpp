// One device's nodes in xenstore: the frontend directory and the backend directory. Reads and
// watches both and writes the frontend's nodes. Handles all of a connection's xenstore access.
//
// Used on the control thread. Owned by one connection, which must call close(). All functions throw
// the errors of store_client, unless noted otherwise.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "async/nursery.hpp"
#include "async/signal.hpp"
#include "blkfront/connection_machine.hpp"
#include "blkfront/features.hpp"
#include "xenpv/async/guest_session.hpp"
#include "xenpv/wire/xenbus.hpp"

namespace xenpv::blkfront {

/// The values that the toolstack wrote to the device's directory.
struct device_facts {
  std::string backend;  ///< the backend directory
  domid backend_domain{};
  std::string type = "disk";  ///< "disk" or "cdrom"
  bool trusted = true;        ///< whether the backend is trusted
  std::uint16_t handle = 0;   ///< the handle field of ring requests
};

class device_nodes {
 public:
  /// `device` is the device's directory, such as "device/vbd/51728".
  device_nodes(async::guest_session& session, std::string device);

  /// Rereads the device's directory and watches both directories. Throws `failure` with
  /// errc::not_available if the device does not exist.
  [[nodiscard]] asio::awaitable<void> read_device();
  [[nodiscard]] const device_facts& facts() const noexcept { return facts_; }

  /// Reads the states of both ends.
  [[nodiscard]] asio::awaitable<device_view> read_view();
  /// Reads all backend_nodes() that exist, in one transaction.
  [[nodiscard]] asio::awaitable<node_map> read_backend();
  /// Returns the error text of the toolstack's hotplug script, if the script failed.
  [[nodiscard]] asio::awaitable<std::optional<std::string>> hotplug_problem();
  /// Throws errc::timed_out. From the states of both ends, the message explains why the connect
  /// failed.
  [[nodiscard]] asio::awaitable<void> give_up(std::chrono::nanoseconds waited);

  /// Writes the frontend's state. Returns false without writing if the toolstack has removed the
  /// device.
  [[nodiscard]] asio::awaitable<bool> set_state(wire::xenbus_state state);
  /// Replaces the transport nodes of a previous frontend with `nodes` and writes Initialised, in
  /// one transaction.
  [[nodiscard]] asio::awaitable<void> publish(
      const std::vector<std::pair<std::string, std::string>>& nodes);

  /// Waits for a change of the nodes or for wake(). Returns false if neither happened within
  /// `limit`. Throws errc::lost_connection once the connection to xenstored is lost, and
  /// operation_aborted when cancelled.
  [[nodiscard]] asio::awaitable<bool> wait_for_change(std::chrono::nanoseconds limit);
  void wake();
  /// Whether the backend's properties may have changed since the last call.
  [[nodiscard]] bool take_properties_changed() noexcept {
    return std::exchange(properties_changed_, false);
  }
  void assume_properties_changed() noexcept { properties_changed_ = true; }
  /// Whether the connection to xenstored is lost. Changes are then no longer reported.
  [[nodiscard]] bool is_lost() const noexcept { return lost_; }

  /// Ends the watches. Never throws.
  [[nodiscard]] asio::awaitable<void> close();

 private:
  using clock = std::chrono::steady_clock;

  [[nodiscard]] asio::awaitable<std::optional<std::string>> read_backend_node(std::string name);
  [[nodiscard]] asio::awaitable<void> watch_directories();
  [[nodiscard]] asio::awaitable<void> consume_watch(async::watch_stream watch);
  void note_event(const async::watch_event& event);

  async::guest_session& session_;
  std::string device_;
  device_facts facts_;
  std::string watched_;  ///< the watched backend directory
  async::nursery watchers_;
  async::signal change_;  ///< notified when `changed_` is set
  bool changed_ = false;
  bool properties_changed_ = false;
  bool rebuilt_ = false;
  bool lost_ = false;
};

}  // namespace xenpv::blkfront
