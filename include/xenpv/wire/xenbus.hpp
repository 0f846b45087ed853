// Xenbus device states (xen/io/xenbus.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace xenpv::wire {

/// enum xenbus_state
enum class xenbus_state : std::uint8_t {
  unknown = 0,
  initialising = 1,
  init_wait = 2,
  initialised = 3,
  connected = 4,
  closing = 5,
  closed = 6,
  reconfiguring = 7,
  reconfigured = 8,
};

/// Returns the name in xenbus.h, such as "InitWait".
[[nodiscard]] std::string_view to_string(xenbus_state state) noexcept;

/// Parses the value of a `state` node, a decimal string. nullopt for anything else.
[[nodiscard]] std::optional<xenbus_state> parse_xenbus_state(std::string_view text) noexcept;

}  // namespace xenpv::wire
