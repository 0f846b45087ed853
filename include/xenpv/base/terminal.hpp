// Whether a descriptor is a terminal that takes more than lines, and how to write over its line.
#pragma once

#include <string_view>

namespace xenpv {

/// A terminal, and TERM does not say that it only takes lines ("dumb", or nothing).
[[nodiscard]] bool can_redraw(int descriptor) noexcept;

/// Back to the line's start, and everything behind it away (ECMA-48).
inline constexpr std::string_view wipe_line = "\r\x1b[K";

}  // namespace xenpv
