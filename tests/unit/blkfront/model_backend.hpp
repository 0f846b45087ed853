// A backend that keeps to the rules of Linux's, as far as a handshake can see it: what it does when
// the frontend's state has changed, as slowly as the test wants.
#pragma once

#include <optional>
#include <utility>

#include "blkfront/handshake.hpp"

namespace xenpv::blkfront {

class model_backend {
 public:
  wire::xenbus_state front = wire::xenbus_state::initialising;              ///< the frontend's node
  std::optional<wire::xenbus_state> state = wire::xenbus_state::init_wait;  ///< its own
  bool online = true;
  /// Requests of a session before are in flight: a ring that is offered meanwhile is refused.
  bool busy = false;
  unsigned rings = 0;  ///< connected

  void write_front(wire::xenbus_state value) {
    front = value;
    told_ = true;
  }

  [[nodiscard]] bool has_to_do() const { return told_ || seen_; }
  /// A watch has fired: takes a look at the frontend's state, or does what that look calls for.
  void step() {
    if (seen_) return react(*std::exchange(seen_, std::nullopt));
    if (std::exchange(told_, false)) seen_ = front;
  }
  void settle() {
    while (has_to_do())
      step();
  }

  [[nodiscard]] handshake_view view() const { return {front, state, online}; }

 private:
  void react(wire::xenbus_state seen) {
    using enum wire::xenbus_state;
    if (seen == initialising && state == closed) state = init_wait;
    if (seen == closing) state = closing;
    // Closed although requests may still be in flight: blkback ignores its own EBUSY here.
    if (seen == closed) state = closed;
    if ((seen == initialised || seen == connected) && state != connected) {
      state = busy ? closing : connected;
      if (!busy) ++rings;
    }
  }

  bool told_ = false;
  std::optional<wire::xenbus_state> seen_;
};

/// What the shell does with a step. True: something was written.
inline bool carry_out(handshake_step step, model_backend& backend) {
  using enum wire::xenbus_state;
  switch (step) {
    case handshake_step::set_closing:
      backend.write_front(closing);
      return true;
    case handshake_step::set_closed:
      backend.write_front(closed);
      return true;
    case handshake_step::set_initialising:
      backend.write_front(initialising);
      return true;
    case handshake_step::publish:
      backend.write_front(initialised);
      return true;
    case handshake_step::finish:
      backend.write_front(connected);
      return true;
    case handshake_step::wait:
    case handshake_step::look_again:
    case handshake_step::close:
    case handshake_step::lost:
    case handshake_step::unplugged:
    case handshake_step::closed:
      return false;
  }
  return false;
}

}  // namespace xenpv::blkfront
