// The backend's half of the xenbus handshake as a pure function: what to do next, from both ends'
// states. No Asio, no Xen, no I/O; the service carries the steps out.
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

/// What the two ends of a device are doing, as far as the backend can tell.
struct situation {
  wire::xenbus_state own = wire::xenbus_state::initialising;
  /// Unknown when its `state` node is absent.
  wire::xenbus_state frontend = wire::xenbus_state::unknown;
  bool online = true;  ///< the toolstack wants the device to stay
  /// The toolstack wrote Closing into the backend's own `state`, which asks for an unplug.
  bool asked_to_close = false;
  /// The medium is open and `hotplug-status` says so.
  bool medium_ready = true;
  /// The frontend has been in this state since before the backend restarted: its ring belongs to
  /// nobody any more.
  bool frontend_is_stale = false;
};

enum class step {
  wait,            ///< nothing to do until something changes
  announce,        ///< write the features and InitWait
  connect,         ///< read the frontend's keys, take its rings over, write properties, Connected
  begin_closing,   ///< write Closing
  finish_closing,  ///< let the rings go, write Closed
  leave,           ///< let the rings go; the device is no more
};
[[nodiscard]] std::string_view to_string(step what) noexcept;

[[nodiscard]] step next_step(const personality& habits, const situation& now) noexcept;

}  // namespace xenpv::blkback
