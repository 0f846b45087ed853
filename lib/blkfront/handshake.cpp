#include "blkfront/handshake.hpp"

#include <fmt/format.h>

#include "base/enum_name.hpp"

namespace xenpv::blkfront {

using wire::xenbus_state;

std::string_view to_string(handshake_step step) noexcept {
  return enum_name<handshake_step::closed>(step, "wait", "set Closing", "set Closed",
                                           "set Initialising", "publish", "finish", "look again",
                                           "close", "lost", "unplugged", "closed");
}

handshake_step handshake::next(const handshake_view& view) noexcept {
  switch (phase_) {
    case phase::resetting:
      return reset(view);
    case phase::published:
      return await_connected(view);
    case phase::connected:
      return stay_connected(view);
  }
  return handshake_step::wait;
}

handshake_step handshake::reset(const handshake_view& view) noexcept {
  // Wait for the missing backend; the caller's deadline limits the wait.
  if (!view.backend || *view.backend == xenbus_state::unknown) return handshake_step::wait;
  const auto backend = *view.backend;
  const bool leaving = backend == xenbus_state::closing || backend == xenbus_state::closed;
  if (leaving && !view.online) return handshake_step::unplugged;
  if (backend != xenbus_state::closed) awakened_ = false;
  if (backend == xenbus_state::reconfiguring || backend == xenbus_state::reconfigured)
    return handshake_step::wait;

  switch (view.own) {
    case xenbus_state::initialising:
      return reset_from_initialising(view);
    case xenbus_state::closing:
      // Wait until the backend has released the previous user's ring. A backend that is not
      // connected does not have a ring and might not react.
      if (leaving || backend == xenbus_state::initialising) return handshake_step::set_closed;
      return view.waited_long ? handshake_step::set_closed : handshake_step::wait;
    case xenbus_state::closed:
      if (backend == xenbus_state::closed || backend == xenbus_state::init_wait ||
          backend == xenbus_state::initialising) {
        awakened_ = backend == xenbus_state::closed;
        return handshake_step::set_initialising;
      }
      return handshake_step::wait;
    case xenbus_state::unknown:
    case xenbus_state::init_wait:
    case xenbus_state::initialised:
    case xenbus_state::connected:
    case xenbus_state::reconfiguring:
    case xenbus_state::reconfigured:
      // A previous frontend died without closing the device. Even a backend in InitWait may be
      // about to map the old rings.
      return leaving ? handshake_step::set_closed : handshake_step::set_closing;
  }
  return handshake_step::wait;
}

handshake_step handshake::reset_from_initialising(const handshake_view& view) noexcept {
  switch (*view.backend) {
    case xenbus_state::init_wait:
      phase_ = phase::published;
      return handshake_step::publish;
    case xenbus_state::initialised:
    case xenbus_state::connected:
      return handshake_step::set_closing;
    case xenbus_state::closing:
      return handshake_step::set_closed;
    case xenbus_state::closed:
      // blkback prepares for a reconnect only when the frontend's state changes to Initialising.
      if (awakened_ && !view.waited_long) return handshake_step::wait;
      awakened_ = true;
      return handshake_step::set_initialising;
    case xenbus_state::unknown:
    case xenbus_state::initialising:
    case xenbus_state::reconfiguring:
    case xenbus_state::reconfigured:
      return handshake_step::wait;
  }
  return handshake_step::wait;
}

handshake_step handshake::await_connected(const handshake_view& view) noexcept {
  // After publishing, the frontend's state is Initialised; otherwise a migration has recreated the
  // directory without the published nodes.
  if (!view.backend || view.own != xenbus_state::initialised) return handshake_step::lost;
  switch (*view.backend) {
    case xenbus_state::connected:
      phase_ = phase::connected;
      return handshake_step::finish;
    case xenbus_state::closing:
    case xenbus_state::closed:
      phase_ = phase::resetting;
      ++refusals_;
      return reset(view);
    case xenbus_state::initialising:
      // The backend was in InitWait when the nodes were published, so it has restarted and might
      // not have read the nodes.
      return handshake_step::lost;
    case xenbus_state::unknown:
    case xenbus_state::init_wait:
    case xenbus_state::initialised:
    case xenbus_state::reconfiguring:
    case xenbus_state::reconfigured:
      return handshake_step::wait;
  }
  return handshake_step::wait;
}

handshake_step handshake::stay_connected(const handshake_view& view) noexcept {
  // A migration recreates the frontend's directory with state 1 (Initialising).
  if (!view.backend || view.own != xenbus_state::connected) return handshake_step::lost;
  switch (*view.backend) {
    case xenbus_state::connected:
      return handshake_step::look_again;
    case xenbus_state::closing:
      return handshake_step::close;
    case xenbus_state::reconfiguring:
    case xenbus_state::reconfigured:
      return handshake_step::wait;
    case xenbus_state::unknown:
    case xenbus_state::initialising:
    case xenbus_state::init_wait:
    case xenbus_state::initialised:
    case xenbus_state::closed:
      return handshake_step::lost;
  }
  return handshake_step::wait;
}

handshake_step next_close_step(const handshake_view& view) noexcept {
  const bool gone = !view.backend || *view.backend == xenbus_state::unknown;
  const auto backend = view.backend.value_or(xenbus_state::closed);
  const bool leaving = backend == xenbus_state::closing || backend == xenbus_state::closed;
  const bool unconnected =
      gone || backend == xenbus_state::initialising || backend == xenbus_state::init_wait;
  switch (view.own) {
    case xenbus_state::closed:
      if (unconnected || backend == xenbus_state::closed || view.waited_long)
        return handshake_step::closed;
      return handshake_step::wait;
    case xenbus_state::closing:
      if (leaving || unconnected || view.waited_long) return handshake_step::set_closed;
      return handshake_step::wait;
    case xenbus_state::initialising:
      // The ring was not published, or the toolstack recreated the directory: closing is complete.
      return handshake_step::closed;
    case xenbus_state::unknown:
      // If both ends are missing, the toolstack has removed the device, and a write would recreate
      // this end.
      return gone ? handshake_step::closed : handshake_step::set_closing;
    case xenbus_state::init_wait:
    case xenbus_state::initialised:
    case xenbus_state::connected:
    case xenbus_state::reconfiguring:
    case xenbus_state::reconfigured:
      return handshake_step::set_closing;
  }
  return handshake_step::closed;
}

namespace {

std::string explain_init_wait(const handshake_view& view,
                              std::optional<std::string_view> hotplug_status) {
  if (view.own != xenbus_state::initialised)
    return "backend is in InitWait, waiting for this frontend's ring";
  if (!hotplug_status)
    return "backend is in InitWait and has not accepted this frontend's ring; hotplug-status is "
           "missing: the hotplug script has not run";
  if (*hotplug_status != "connected")
    return fmt::format(
        "backend is in InitWait and has not accepted this frontend's ring; hotplug-status is '{}': "
        "the hotplug script failed",
        *hotplug_status);
  return "backend is in InitWait and has not accepted this frontend's ring; see the log of the "
         "backend domain";
}

}  // namespace

std::string explain_wait(const handshake_view& view,
                         std::optional<std::string_view> hotplug_status) {
  if (!view.backend)
    return "the backend directory does not exist (is the disk attached, and its backend domain "
           "running?)";
  switch (*view.backend) {
    case xenbus_state::unknown:
      return "backend is in Unknown: its domain is being shut down";
    case xenbus_state::initialising:
      return "backend is in Initialising: no driver in the backend domain serves the disk (is "
             "xen-blkback loaded there?)";
    case xenbus_state::init_wait:
      return explain_init_wait(view, hotplug_status);
    case xenbus_state::initialised:
      return "backend is in Initialised and has not switched to Connected";
    case xenbus_state::connected:
      if (view.own == xenbus_state::connected) return "both ends are Connected";
      return fmt::format(
          "backend is still Connected to the device's previous user, while this frontend is in {}",
          to_string(view.own));
    case xenbus_state::closing:
      return "backend is in Closing: requests of the device's previous user may still be running";
    case xenbus_state::closed:
      return fmt::format("backend is in Closed{} and does not prepare for a new connection",
                         view.online ? "" : " with online=0");
    case xenbus_state::reconfiguring:
    case xenbus_state::reconfigured:
      return fmt::format("backend is in {}", to_string(*view.backend));
  }
  return "backend is in a state that xenbus.h does not define";
}

}  // namespace xenpv::blkfront
