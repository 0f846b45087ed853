#include "blkback/handshake.hpp"

#include "base/enum_name.hpp"

namespace xenpv::blkback {
namespace {

using enum wire::xenbus_state;

step when_closed(const situation& now) {
  if (now.own != closed) return step::finish_closing;
  return now.online ? step::wait : step::leave;
}

step when_initialising(const personality& personality, const situation& now) {
  if (now.own == closed && !now.online) return step::leave;
  // The disk was unplugged before a frontend connected, so there is no closing handshake.
  if (now.asked_to_close && !now.online) return step::finish_closing;
  if (now.own == closed && personality.reconnects) return step::announce;
  return step::wait;
}

step when_ring_is_up(const situation& now) {
  // Connect only from InitWait: ignore a frontend that has not reset its state.
  if (now.own != init_wait || now.frontend_is_stale || !now.medium_ready) return step::wait;
  return step::connect;
}

}  // namespace

step next_step(const personality& personality, const situation& now) noexcept {
  if (now.own == initialising) return step::announce;
  switch (now.frontend) {
    case unknown:
      return step::leave;
    case initialising:
      return when_initialising(personality, now);
    case initialised:
    case connected:
      return when_ring_is_up(now);
    case closing:
      return now.own == closing || now.own == closed ? step::wait : step::begin_closing;
    case closed:
      return when_closed(now);
    case init_wait:
    case reconfiguring:
    case reconfigured:
      return step::wait;
  }
  return step::wait;
}

std::string_view to_string(step value) noexcept {
  return enum_name<step::leave>(value, "wait", "announce", "connect", "begin closing",
                                "finish closing", "leave");
}

}  // namespace xenpv::blkback
