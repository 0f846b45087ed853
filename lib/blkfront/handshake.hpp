// The frontend's side of the xenbus handshake as a machine without I/O: given what both ends show
// in xenstore, what to do next. Covers the start-up reset after whoever had the device before, the
// connect, what happens while connected, and the close.
//
// Owned by whoever drives it, one per device. Does not wait, count time or write: it says so.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "xenpv/wire/xenbus.hpp"

namespace xenpv::blkfront {

/// What xenstore shows at one moment.
struct handshake_view {
  wire::xenbus_state own = wire::xenbus_state::unknown;
  /// nullopt: the backend's directory, or its state node, does not exist.
  std::optional<wire::xenbus_state> backend;
  bool online = true;  ///< the toolstack's node; false: the disk is being taken away
  /// Nothing changed for a while: go on as far as that is safe without the backend's word.
  bool waited_long = false;
  friend bool operator==(const handshake_view&, const handshake_view&) = default;
};

enum class handshake_step : std::uint8_t {
  wait,              ///< for a change of either state
  set_closing,       ///< write our state
  set_closed,        ///< write our state
  set_initialising,  ///< write our state, even if it is that already: the watch must fire
  publish,           ///< clean up, publish the ring, write Initialised: all in one transaction
  finish,            ///< read what the backend published and write Connected
  look_again,        ///< connected, and the backend said so once more: read its properties
  close,             ///< the backend leaves: stop using the ring and close
  lost,              ///< the backend vanished or restarted under us, or our own directory was built
                     ///< anew: the ring is dead
  unplugged,         ///< the toolstack takes the disk away: nothing to connect to
  closed,            ///< the close is complete
};
[[nodiscard]] std::string_view to_string(handshake_step step) noexcept;

class handshake {
 public:
  /// The step that `view` calls for while a connection is wanted.
  [[nodiscard]] handshake_step next(const handshake_view& view) noexcept;

  /// How often a published ring was refused (backend went to Closing or Closed instead of
  /// Connected), blkback with old I/O in flight being the usual reason: time to back off.
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

/// The step towards an orderly end: Closing, Closed, each with the backend's answer.
[[nodiscard]] handshake_step next_close_step(const handshake_view& view) noexcept;

/// Why a connect (or close) makes no progress, for people: what each end shows, and what to do.
/// `hotplug_status`: the backend's node of that name.
[[nodiscard]] std::string explain_wait(const handshake_view& view,
                                       std::optional<std::string_view> hotplug_status);

}  // namespace xenpv::blkfront
