#include "blkfront/connection_machine.hpp"

#include "base/enum_name.hpp"

namespace xenpv::blkfront {

using enum connection_state;
using event_kind = connection_event::kind;
using wire::xenbus_state;

std::string_view to_string(connection_state state) noexcept {
  return enum_name<closed>(state, "unopened", "connecting", "offered", "connected", "parting",
                           "recovering", "absent", "unplugging", "failing", "closing", "unplugged",
                           "failed", "closed");
}

std::string_view to_string(connection_step value) noexcept {
  return enum_name<connection_step::rest>(
      value, "read device", "look", "confirm", "wait", "set Closing", "set Closed",
      "set Initialising", "publish", "finish", "reread", "back off", "abandon", "suspend",
      "withdraw", "rebind", "pause", "shut", "drain", "fail", "part", "release", "rest");
}

std::string_view to_string(loss_reason reason) noexcept {
  return enum_name<loss_reason::backend_restarted>(
      reason, "", "the guest was saved and restored", "the backend closed the connection",
      "the backend directory was removed", "the toolstack recreated the device",
      "the backend abandoned the connection or restarted");
}

namespace {

/// Whether the toolstack has detached the disk or is about to.
bool is_gone(const device_view& view) noexcept {
  return view.node == backend_node::removed || !view.states.online;
}

/// Whether a new backend may replace the backend that closed the connection, whose cache may then
/// be lost. A backend that goes from Closed directly to InitWait has kept its cache.
bool is_replaced(const device_view& view) noexcept {
  const auto backend = view.states.backend.value_or(xenbus_state::unknown);
  return view.rebuilt || view.node != backend_node::same || backend == xenbus_state::unknown ||
         backend == xenbus_state::initialising;
}

/// Whether both ends completed the closing handshake and the backend still exists.
bool is_closed_by_both(const device_view& view) noexcept {
  return view.states.own == xenbus_state::closed && view.states.backend == xenbus_state::closed &&
         !is_replaced(view);
}

constexpr std::string_view disk_detached = "the toolstack detached the disk";
constexpr std::string_view disk_force_detached = "the toolstack forcibly detached the disk";

}  // namespace

bool connection_machine::interrupt(interruption cause) noexcept {
  switch (cause) {
    case interruption::resumed:
      if (!is_in_use() && !is_opening()) return false;
      if (pending_ == pending::none) pending_ = pending::resumed;
      return true;
    case interruption::distrusted:
      if (!is_in_use()) return false;
      pending_ = pending::distrusted;
      return true;
    case interruption::out_of_time:
      if (state_ != recovering) return false;
      state_ = absent;
      return true;
  }
  return false;
}

connection_action connection_machine::next(const connection_event& event) noexcept {
  const auto action = decide(event);
  step_ = action.step;
  return action;
}

connection_action connection_machine::decide(const connection_event& event) noexcept {
  if (event.what == event_kind::close) return begin_close();
  if (pending_ == pending::distrusted && is_in_use()) {
    pending_ = pending::none;
    state_ = failing;
    return {connection_step::fail};
  }
  switch (state_) {
    case unopened:
      if (event.what != event_kind::open) return {};
      state_ = connecting;
      return begin_attempt();
    case connecting:
    case offered:
      return connect_first(event);
    case connected:
      return stay_connected(event);
    case parting:
      return part(event);
    case recovering:
    case absent:
      return recover(event);
    case unplugging:
    case failing:
    case closing:
      return end(event);
    case unplugged:
    case failed:
    case closed:
      return {};
  }
  return {};
}

connection_action connection_machine::begin_close() noexcept {
  pending_ = pending::none;
  switch (state_) {
    case unopened:
      state_ = closed;
      return {};
    case connecting:
      state_ = closing;
      return {connection_step::release};
    case connected:
      state_ = closing;
      return {connection_step::drain};
    case offered:
    case parting:
    case recovering:
    case absent:
      state_ = closing;
      return {connection_step::fail};
    case unplugging:
    case failing:
    case closing:
      // Restart the teardown without skipping any step. The release is the last step, and the only
      // step if the backend never had the ring.
      return {step_ == connection_step::release ? connection_step::release : connection_step::fail};
    case unplugged:
    case failed:
    case closed:
      return {};
  }
  return {};
}

connection_action connection_machine::begin_attempt() noexcept {
  handshake_ = {};
  if (pending_ == pending::resumed) {
    pending_ = pending::none;
    host_ = host::maybe_other;
    // A resume also recreates the backend directory.
    if (loss_ == connection_loss::orderly) reason_ = loss_reason::resumed;
  }
  return {connection_step::read_device};
}

connection_action connection_machine::continue_attempt() noexcept {
  if (step_ == connection_step::finish) {
    state_ = connected;
    if (pending_ == pending::resumed) return lose(loss_reason::resumed, connection_loss::orderly);
    host_ = host::same;
    return {connection_step::wait};
  }
  return {connection_step::look};
}

connection_action connection_machine::follow_handshake(const device_view& view) noexcept {
  if (view.node == backend_node::removed)
    return {connection_step::abandon, loss_, "the toolstack removed the device"};
  if (view.node == backend_node::other)
    return {connection_step::abandon, loss_, "the toolstack assigned another backend"};
  const auto refused_before = handshake_.refusals();
  const auto next_step = handshake_.next(view.states);
  // The backend may have failed to bind the port, so use a new one.
  if (handshake_.refusals() != refused_before)
    return {is_recovering() ? connection_step::rebind : connection_step::release, loss_};
  switch (next_step) {
    case handshake_step::wait:
      return {connection_step::wait};
    case handshake_step::set_closing:
      return {connection_step::set_closing};
    case handshake_step::set_closed:
      return {connection_step::set_closed};
    case handshake_step::set_initialising:
      return {connection_step::set_initialising};
    case handshake_step::publish:
      if (state_ == connecting) state_ = offered;
      return {connection_step::publish};
    case handshake_step::finish:
      return {connection_step::finish};
    case handshake_step::unplugged:
      if (is_recovering()) return begin_unplug(disk_detached);
      return {connection_step::abandon, loss_, "the toolstack is detaching the disk (online=0)"};
    case handshake_step::lost:
      return {connection_step::abandon, loss_,
              view.states.backend ? "the device directory was recreated in the meantime"
                                  : "the backend directory was removed in the meantime"};
    case handshake_step::look_again:
    case handshake_step::close:
    case handshake_step::closed:
      return {connection_step::look};
  }
  return {connection_step::look};
}

connection_action connection_machine::connect_first(const connection_event& event) noexcept {
  // A failed release is treated as successful.
  const bool released = step_ == connection_step::release;
  switch (event.what) {
    case event_kind::failed:
    case event_kind::wrong_disk:
    case event_kind::changed:
      if (released) break;
      // The failure was caused by a resume of the guest, not by the disk: retry.
      if (pending_ == pending::resumed) {
        state_ = connecting;
        return {connection_step::release};
      }
      if (event.what == event_kind::changed) return {connection_step::look};
      if (state_ == offered) {
        state_ = closing;
        return {connection_step::fail};
      }
      state_ = closing;
      return {connection_step::release};
    case event_kind::view:
      return follow_handshake(event.view);
    case event_kind::open:
    case event_kind::close:
    case event_kind::done:
      break;
  }
  if (released)
    return state_ == connecting ? begin_attempt() : connection_action{connection_step::back_off};
  return continue_attempt();
}

connection_action connection_machine::lose(loss_reason reason, connection_loss loss) noexcept {
  state_ = recovering;
  reason_ = reason;
  loss_ = loss;
  host_ = host::same;
  return {connection_step::suspend, loss_};
}

connection_action connection_machine::begin_unplug(std::string_view text) noexcept {
  pending_ = pending::none;
  state_ = unplugging;
  return {connection_step::shut, loss_, text};
}

connection_action connection_machine::stay_connected(const connection_event& event) noexcept {
  if (pending_ == pending::resumed) return lose(loss_reason::resumed, connection_loss::orderly);
  switch (event.what) {
    case event_kind::failed:
    case event_kind::wrong_disk:
      // The nodes probably changed during the read; the next read will show the change.
      return {connection_step::back_off};
    case event_kind::view:
      return follow_connected(event.view);
    case event_kind::done:
      return {step_ == connection_step::reread ? connection_step::wait : connection_step::look};
    case event_kind::open:
    case event_kind::close:
    case event_kind::changed:
      return {connection_step::look};
  }
  return {connection_step::look};
}

connection_action connection_machine::follow_connected(const device_view& view) noexcept {
  if (step_ == connection_step::confirm) {
    if (is_gone(view)) return begin_unplug(disk_force_detached);
    // Without a closing handshake, the state of the backend's cache is unknown.
    if (!view.states.backend) return lose(loss_reason::directory_vanished, connection_loss::abrupt);
    if (view.states.own != xenbus_state::connected)
      return lose(loss_reason::device_rebuilt, connection_loss::abrupt);
    return lose(loss_reason::backend_restarted, connection_loss::abrupt);
  }
  switch (handshake_.next(view.states)) {
    case handshake_step::look_again:
      return {connection_step::reread};
    case handshake_step::close:
      if (!view.states.online) return begin_unplug(disk_detached);
      state_ = parting;
      return {connection_step::part};
    case handshake_step::lost:
      // A resume has the same symptoms and must be detected before any port is used.
      return {connection_step::confirm};
    case handshake_step::wait:
    case handshake_step::set_closing:
    case handshake_step::set_closed:
    case handshake_step::set_initialising:
    case handshake_step::publish:
    case handshake_step::finish:
    case handshake_step::unplugged:
    case handshake_step::closed:
      return {connection_step::wait};
  }
  return {connection_step::wait};
}

connection_action connection_machine::part(const connection_event& event) noexcept {
  if (pending_ == pending::resumed) return lose(loss_reason::resumed, connection_loss::orderly);
  const bool has_view = event.what == event_kind::view;
  if (step_ == connection_step::part) {
    if (has_view && is_closed_by_both(event.view) && event.view.states.online)
      return lose(loss_reason::backend_closed, connection_loss::orderly);
    return {connection_step::confirm};
  }
  if (has_view && is_gone(event.view)) return begin_unplug(disk_detached);
  return lose(loss_reason::backend_closed, connection_loss::abrupt);
}

connection_action connection_machine::follow_recovery(const device_view& view) noexcept {
  if (step_ == connection_step::confirm) {
    if (pending_ == pending::resumed) return begin_attempt();
    if (is_gone(view)) return begin_unplug(disk_detached);
  } else if (view.node == backend_node::removed) {
    return begin_unplug(disk_detached);
  }
  if (reason_ == loss_reason::backend_closed && loss_ == connection_loss::orderly &&
      is_replaced(view)) {
    loss_ = connection_loss::abrupt;
    return {connection_step::suspend, loss_};
  }
  if (step_ == connection_step::confirm) return {connection_step::pause};
  return follow_handshake(view);
}

connection_action connection_machine::recover(const connection_event& event) noexcept {
  switch (event.what) {
    case event_kind::view:
      return follow_recovery(event.view);
    case event_kind::changed:
      return {pending_ == pending::resumed ? connection_step::withdraw : connection_step::look,
              loss_};
    case event_kind::wrong_disk:
      if (pending_ == pending::resumed) return {connection_step::withdraw, loss_};
      state_ = failing;
      return {connection_step::fail};
    case event_kind::failed:
    case event_kind::open:
    case event_kind::close:
    case event_kind::done:
      break;
  }
  // These steps have the same successor whether they succeed or fail.
  if (step_ == connection_step::suspend || step_ == connection_step::pause) return begin_attempt();
  if (step_ == connection_step::rebind) return {connection_step::back_off};
  if (step_ == connection_step::confirm) return {connection_step::pause};
  if (step_ == connection_step::withdraw)
    return pending_ == pending::resumed ? begin_attempt()
                                        : connection_action{connection_step::confirm};
  if (event.what == event_kind::failed) return {connection_step::withdraw, loss_};
  return continue_attempt();
}

connection_action connection_machine::end(const connection_event& event) noexcept {
  // Failed steps do not stop the teardown: everything else is still closed as far as possible.
  if (step_ == connection_step::shut) return {connection_step::look};
  // A backend whose directory is missing does not respond: skip the drain.
  if (step_ == connection_step::look && event.what == event_kind::view && event.view.states.backend)
    return {connection_step::drain};
  if (step_ == connection_step::look || step_ == connection_step::drain)
    return {connection_step::fail};
  if (step_ == connection_step::fail) return {connection_step::part};
  if (step_ == connection_step::part) return {connection_step::release};
  state_ = state_ == unplugging ? unplugged : state_ == failing ? failed : closed;
  return {};
}

}  // namespace xenpv::blkfront
