// One device's nodes in xenstore: its own directory and its backend's. Reads and watches both and
// writes our nodes. The only part of a connection that uses xenstore.
//
// On the control thread, owned by one connection, which joins it with close(). Makes no decisions.
// Every call throws the errors of store_client, unless noted.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "blkfront/connection_machine.hpp"
#include "blkfront/features.hpp"
#include "xenpv/async/guest_session.hpp"
#include "xenpv/async/nursery.hpp"
#include "xenpv/async/signal.hpp"
#include "xenpv/wire/xenbus.hpp"

namespace xenpv::blkfront {

/// The toolstack's nodes in the device's directory.
struct device_facts {
  std::string backend;  ///< the backend's directory
  domid backend_domain{};
  std::string type = "disk";  ///< "disk" or "cdrom"
  bool trusted = true;        ///< whether the backend is trusted
  std::uint16_t handle = 0;   ///< for the requests in the ring
};

class device_nodes {
 public:
  /// `device`: its directory, "device/vbd/51728".
  device_nodes(async::guest_session& session, std::string device);

  /// Rereads the device's directory and watches it and its backend's. Throws `failure` with
  /// errc::not_available if the device does not exist.
  [[nodiscard]] async::asio::awaitable<void> read_device();
  [[nodiscard]] const device_facts& facts() const noexcept { return facts_; }

  /// Reads the states of both ends.
  [[nodiscard]] async::asio::awaitable<device_view> read_view();
  /// Reads those of backend_nodes() that exist, in one transaction.
  [[nodiscard]] async::asio::awaitable<node_map> read_backend();
  /// The error text of the toolstack's hotplug script, if it failed.
  [[nodiscard]] async::asio::awaitable<std::optional<std::string>> hotplug_problem();
  /// Throws errc::timed_out and explains by the states of both ends why the connect failed.
  [[nodiscard]] async::asio::awaitable<void> give_up(std::chrono::nanoseconds waited);

  /// Writes our state. False: nothing was written, because the toolstack has removed the device.
  [[nodiscard]] async::asio::awaitable<bool> set_state(wire::xenbus_state state);
  /// Replaces a predecessor's transport nodes by `nodes` and writes Initialised, in one
  /// transaction.
  [[nodiscard]] async::asio::awaitable<void> publish(
      const std::vector<std::pair<std::string, std::string>>& nodes);

  /// Waits for a change of the nodes or for wake(). False: neither happened within `limit`. Throws
  /// errc::lost_connection once xenstored is gone, and operation_aborted when cancelled.
  [[nodiscard]] async::asio::awaitable<bool> wait_for_change(std::chrono::nanoseconds limit);
  void wake();
  /// Whether the backend's properties may have changed since the last call.
  [[nodiscard]] bool take_properties_changed() noexcept {
    return std::exchange(properties_changed_, false);
  }
  void assume_properties_changed() noexcept { properties_changed_ = true; }
  /// xenstored is gone: no further changes are seen.
  [[nodiscard]] bool is_lost() const noexcept { return lost_; }

  /// Ends the watches. Never throws.
  [[nodiscard]] async::asio::awaitable<void> close();

 private:
  using clock = std::chrono::steady_clock;

  [[nodiscard]] async::asio::awaitable<std::optional<std::string>> read_backend_node(
      std::string name);
  [[nodiscard]] async::asio::awaitable<void> watch_directories();
  [[nodiscard]] async::asio::awaitable<void> consume_watch(async::watch_stream watch);
  void note_event(const async::watch_event& event);

  async::guest_session& session_;
  std::string device_;
  device_facts facts_;
  std::string watched_;  ///< the watched directory of the backend
  async::nursery watchers_;
  async::signal change_;  ///< of `changed_`
  bool changed_ = false;
  bool properties_changed_ = false;
  bool rebuilt_ = false;
  bool lost_ = false;
};

}  // namespace xenpv::blkfront
