#include "xenpv/wire/xenbus.hpp"

namespace xenpv::wire {

std::string_view to_string(xenbus_state state) noexcept {
  switch (state) {
    case xenbus_state::unknown:
      return "Unknown";
    case xenbus_state::initialising:
      return "Initialising";
    case xenbus_state::init_wait:
      return "InitWait";
    case xenbus_state::initialised:
      return "Initialised";
    case xenbus_state::connected:
      return "Connected";
    case xenbus_state::closing:
      return "Closing";
    case xenbus_state::closed:
      return "Closed";
    case xenbus_state::reconfiguring:
      return "Reconfiguring";
    case xenbus_state::reconfigured:
      return "Reconfigured";
  }
  return "invalid";
}

std::optional<xenbus_state> parse_xenbus_state(std::string_view text) noexcept {
  if (text.size() != 1 || text[0] < '0' || text[0] > '8') return std::nullopt;
  return static_cast<xenbus_state>(text[0] - '0');
}

}  // namespace xenpv::wire
