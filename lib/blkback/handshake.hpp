// The backend's half of the xenbus handshake as a pure function: derives the next step from the
// states of both ends. Does not use Asio, Xen or I/O; class disk performs the steps.
//
//   Initialising --announce--> InitWait --connect--> Connected --begin_closing--> Closing
//        ^                        ^                                                  |
//   (restart)                     +--announce-- Closed <-----------finish_closing----+
//                                                 |
//                                                 +--leave (online = 0)
#pragma once

#include <string_view>

#include "blkback/personality.hpp"
#include "xenpv/wire/xenbus.hpp"

namespace xenpv::blkback {

/// The states of both ends of a device, as known to the backend.
struct situation {
  wire::xenbus_state own = wire::xenbus_state::initialising;
  /// `unknown` if the frontend's `state` node is absent.
  wire::xenbus_state frontend = wire::xenbus_state::unknown;
  bool online = true;  ///< false: the toolstack is detaching the device
  /// The toolstack requested an unplug by writing Closing to the backend's `state`.
  bool asked_to_close = false;
  /// The medium is open and `hotplug-status` is "connected".
  bool medium_ready = true;
  /// The frontend has been in this state since before the backend restarted: the ring is orphaned.
  bool frontend_is_stale = false;
};

enum class step {
  wait,            ///< nothing to do until something changes
  announce,        ///< write the features and InitWait
  connect,         ///< read the frontend's keys, map its rings, write properties and Connected
  begin_closing,   ///< write Closing
  finish_closing,  ///< release the rings, write Closed
  leave,           ///< release the rings; the device no longer exists
};
[[nodiscard]] std::string_view to_string(step value) noexcept;

[[nodiscard]] step next_step(const personality& personality, const situation& now) noexcept;

}  // namespace xenpv::blkback
