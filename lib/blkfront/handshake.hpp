// The frontend's side of the xenbus handshake as a state machine without I/O: maps the states of
// both ends in xenstore to the next step. Covers the reset after a previous user of the device, the
// connect, state changes while connected, and the close.
//
// Owned by its driver, one per device. Does not wait, count time or write; returns steps instead.
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
  /// nullopt: the backend's directory, or its state node, does not exist.
  std::optional<wire::xenbus_state> backend;
  bool online = true;  ///< the toolstack's node; false: the disk is being detached
  /// Nothing has changed for a while: proceed as far as is safe without the backend's reply.
  bool waited_long = false;
  friend bool operator==(const handshake_view&, const handshake_view&) = default;
};

enum class handshake_step : std::uint8_t {
  wait,              ///< for a change of either state
  set_closing,       ///< write our state
  set_closed,        ///< write our state
  set_initialising,  ///< write our state, even if unchanged: the watch must fire
  publish,           ///< clean up, publish the ring, write Initialised: all in one transaction
  finish,            ///< read the backend's properties and write Connected
  look_again,        ///< the backend wrote Connected again: reread its properties
  close,             ///< the backend is closing: stop using the ring and close
  lost,              ///< the backend vanished or restarted, or our own directory was recreated:
                     ///< the ring is dead
  unplugged,         ///< the toolstack detaches the disk: nothing to connect to
  closed,            ///< the close is complete
};
[[nodiscard]] std::string_view to_string(handshake_step step) noexcept;

class handshake {
 public:
  /// The next step towards a connection, or to keep it.
  [[nodiscard]] handshake_step next(const handshake_view& view) noexcept;

  /// How often the backend refused a published ring (went to Closing or Closed instead of
  /// Connected), usually blkback with old I/O in flight. The caller should back off.
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
  bool awakened_ = false;  ///< wrote Initialising since the backend was last seen Closed
  unsigned refusals_ = 0;
};

/// The next step of an orderly close: Closing and Closed, each acknowledged by the backend.
[[nodiscard]] handshake_step next_close_step(const handshake_view& view) noexcept;

/// Explains to the user why a connect (or close) makes no progress, with a remedy.
/// `hotplug_status`: the backend's node of that name.
[[nodiscard]] std::string explain_wait(const handshake_view& view,
                                       std::optional<std::string_view> hotplug_status);

}  // namespace xenpv::blkfront
