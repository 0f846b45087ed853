// The frontend's side of the xenbus handshake as a state machine without I/O: maps the states of
// both ends in xenstore to the next step. Covers the reset after a previous user of the device, the
// connect, state changes while connected, and the close.
//
// Owned by its driver, one per device. Only returns steps: does not wait, measure time or write.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "xenpv/wire/xenbus.hpp"

namespace xenpv::blkfront {

/// A snapshot of xenstore.
struct handshake_view {
  wire::xenbus_state own = wire::xenbus_state::unknown;
  /// nullopt: the backend directory or its `state` node does not exist.
  std::optional<wire::xenbus_state> backend;
  bool online = true;  ///< the toolstack's `online` node; false: the disk is being detached
  /// The states have not changed for a while: proceed as far as is safe without a reply.
  bool waited_long = false;
  friend bool operator==(const handshake_view&, const handshake_view&) = default;
};

enum class handshake_step : std::uint8_t {
  wait,              ///< wait for a change of either state
  set_closing,       ///< write Closing as the frontend's state
  set_closed,        ///< write Closed as the frontend's state
  set_initialising,  ///< write Initialising, even if unchanged: the watch must fire
  publish,           ///< clean up, publish the ring and write Initialised, in one transaction
  finish,            ///< read the backend's properties and write Connected
  look_again,        ///< the backend wrote Connected again: reread its properties
  close,             ///< the backend is closing: stop using the ring and close
  lost,              ///< the ring is unusable: the backend is gone or restarted, or the
                     ///< frontend's directory was recreated
  unplugged,         ///< the toolstack is detaching the disk: there is nothing to connect to
  closed,            ///< the close is complete
};
[[nodiscard]] std::string_view to_string(handshake_step step) noexcept;

class handshake {
 public:
  /// Returns the next step to establish or keep a connection.
  [[nodiscard]] handshake_step next(const handshake_view& view) noexcept;

  /// The number of times the backend refused a published ring (went to Closing or Closed instead of
  /// Connected). This usually means that blkback still has earlier I/O in flight. The caller should
  /// back off.
  [[nodiscard]] unsigned refusals() const noexcept { return refusals_; }
  [[nodiscard]] bool is_connected() const noexcept { return phase_ == phase::connected; }
  friend bool operator==(const handshake&, const handshake&) = default;

 private:
  enum class phase : std::uint8_t { resetting, published, connected };

  [[nodiscard]] handshake_step reset(const handshake_view& view) noexcept;
  [[nodiscard]] handshake_step reset_from_initialising(const handshake_view& view) noexcept;
  [[nodiscard]] handshake_step await_connected(const handshake_view& view) noexcept;
  [[nodiscard]] static handshake_step stay_connected(const handshake_view& view) noexcept;

  phase phase_ = phase::resetting;
  bool awakened_ = false;  ///< Initialising was written since the backend went to Closed
  unsigned refusals_ = 0;
};

/// Returns the next step of an orderly close: the frontend writes Closing, then Closed, and the
/// backend acknowledges each state.
[[nodiscard]] handshake_step next_close_step(const handshake_view& view) noexcept;

/// Explains to the user why a connect or close does not make progress, and suggests a remedy.
/// `hotplug_status` is the value of the backend's hotplug-status node.
[[nodiscard]] std::string explain_wait(const handshake_view& view,
                                       std::optional<std::string_view> hotplug_status);

}  // namespace xenpv::blkfront
