// A model of blkback, limited to the behaviour that a handshake depends on. It reacts to changes of
// the frontend state one step at a time.
#pragma once

#include <optional>
#include <utility>

#include "blkfront/handshake.hpp"

namespace xenpv::blkfront {

class model_backend {
 public:
  wire::xenbus_state front = wire::xenbus_state::initialising;              ///< of the frontend
  std::optional<wire::xenbus_state> state = wire::xenbus_state::init_wait;  ///< of the backend
  bool online = true;
  /// Requests of an earlier session are still in flight, so a newly published ring is refused.
  bool busy = false;
  unsigned rings = 0;  ///< rings connected so far

  void write_front(wire::xenbus_state value) {
    front = value;
    notified_ = true;
  }

  [[nodiscard]] bool has_to_do() const { return notified_ || seen_; }
  /// Handles a watch event in two steps: the first one reads the frontend's state, the second one
  /// reacts to it.
  void step() {
    if (seen_) return react(*std::exchange(seen_, std::nullopt));
    if (std::exchange(notified_, false)) seen_ = front;
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
    // blkback ignores its own EBUSY here: it switches to Closed even with requests in flight.
    if (seen == closed) state = closed;
    if ((seen == initialised || seen == connected) && state != connected) {
      state = busy ? closing : connected;
      if (!busy) ++rings;
    }
  }

  bool notified_ = false;
  std::optional<wire::xenbus_state> seen_;
};

/// Performs a step like the driver. Returns true if the step wrote the frontend's state.
inline bool carry_out(handshake_step performed, model_backend& backend) {
  using enum wire::xenbus_state;
  switch (performed) {
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
