#include "async/port_state.hpp"

#include <utility>

namespace xenpv::async {

event_action port_state::on_event() noexcept {
  masked_ = true;
  if (std::exchange(swallow_, false)) return event_action::unmask;
  switch (listener_) {
    case listener::none:
      break;
    case listener::callback:
      return event_action::call;
    case listener::waiter:
      listener_ = listener::none;
      return event_action::wake;
  }
  kept_ = true;
  return event_action::keep;
}

listen_action port_state::begin_wait() noexcept {
  if (listener_ != listener::none) return listen_action::refuse;
  const auto action = begin_listening();
  if (action != listen_action::deliver) listener_ = listener::waiter;
  return action;
}

void port_state::cancel_wait() noexcept {
  listener_ = listener::none;
}

listen_action port_state::set_callback(bool present) noexcept {
  if (listener_ == listener::waiter) return listen_action::refuse;
  const bool replaced = listener_ == listener::callback;
  listener_ = present ? listener::callback : listener::none;
  // If the previous callback is running, the port is unmasked when it returns.
  if (!present || replaced) return listen_action::listen;
  return begin_listening();
}

listen_action port_state::begin_listening() noexcept {
  if (std::exchange(kept_, false)) return listen_action::deliver;
  return masked_ ? listen_action::unmask : listen_action::listen;
}

}  // namespace xenpv::async
