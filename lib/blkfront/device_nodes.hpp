// One device's nodes in xenstore: its own directory and its backend's. Looks at them, watches them
// and writes ours; the only part of a connection that knows xenstore.
//
// On the control thread, owned by one connection, which joins it with close(). Decides nothing.
// Every call throws what store_client throws, unless it says otherwise.
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
#include "xenpv/async/nursery.hpp"
#include "xenpv/async/runtime.hpp"
#include "xenpv/wire/xenbus.hpp"

namespace xenpv::blkfront {

/// What the toolstack wrote into the device's directory.
struct device_facts {
  std::string backend;  ///< the backend's directory
  domid backend_domain{};
  std::string type = "disk";  ///< "disk" or "cdrom"
  bool trusted = true;        ///< the backend
  std::uint16_t handle = 0;   ///< of requests in the ring
};

class device_nodes {
 public:
  /// `device`: its directory, "device/vbd/51728".
  device_nodes(async::runtime& runtime, std::string device);

  /// Reads the device's directory anew and follows it and its backend's. Throws `failure` with
  /// errc::not_available when there is no such device.
  [[nodiscard]] async::asio::awaitable<void> read_device();
  [[nodiscard]] const device_facts& facts() const noexcept { return facts_; }

  /// What both ends show.
  [[nodiscard]] async::asio::awaitable<device_view> look();
  /// All of backend_nodes() that exist, as of one moment.
  [[nodiscard]] async::asio::awaitable<node_map> read_backend();
  /// The text of the toolstack's script that failed to prepare the disk, if it did.
  [[nodiscard]] async::asio::awaitable<std::optional<std::string>> hotplug_problem();
  /// Throws errc::timed_out: why there is no connection after `waited`, by what both ends show.
  [[nodiscard]] async::asio::awaitable<void> give_up(std::chrono::nanoseconds waited);

  /// Writes our state. False, and nothing written: the toolstack has removed the device.
  [[nodiscard]] async::asio::awaitable<bool> set_state(wire::xenbus_state state);
  /// Replaces what any predecessor published by `nodes` and writes Initialised, in one transaction.
  [[nodiscard]] async::asio::awaitable<void> publish(
      const std::vector<std::pair<std::string, std::string>>& nodes);

  /// Waits for a change of the nodes, or for wake(). False: none came within `limit`. Throws
  /// errc::lost_connection once xenstored is gone, and operation_aborted when cancelled.
  [[nodiscard]] async::asio::awaitable<bool> wait_for_change(std::chrono::nanoseconds limit);
  void wake();
  /// Since the last call, something changed that may be more than a state.
  [[nodiscard]] bool take_properties_changed() noexcept {
    return std::exchange(properties_changed_, false);
  }
  void assume_properties_changed() noexcept { properties_changed_ = true; }
  /// xenstored is gone: nothing changes any more.
  [[nodiscard]] bool is_lost() const noexcept { return lost_; }

  /// Ends the watches. Never throws.
  [[nodiscard]] async::asio::awaitable<void> close();

 private:
  using clock = std::chrono::steady_clock;

  [[nodiscard]] async::asio::awaitable<std::optional<std::string>> read_of_backend(
      std::string name);
  [[nodiscard]] async::asio::awaitable<void> follow();
  [[nodiscard]] async::asio::awaitable<void> follow_watch(async::watch_stream watch);
  void take(const async::watch_event& event);

  async::runtime& runtime_;
  std::string device_;
  device_facts facts_;
  std::string followed_;  ///< the backend's directory that is watched
  async::nursery watchers_;
  async::asio::steady_timer change_;  ///< never expires by itself; cancelled by wake()
  bool changed_ = false;
  bool properties_changed_ = false;
  bool rebuilt_ = false;
  bool lost_ = false;
};

}  // namespace xenpv::blkfront
