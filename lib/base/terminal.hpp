// Detects a terminal that can redraw a line, and defines the sequence that erases the line.
#pragma once

#include <string_view>

namespace xenpv {

/// True for a terminal, unless TERM is unset, empty or "dumb".
[[nodiscard]] bool can_redraw(int descriptor) noexcept;

/// Moves to the start of the line and erases the line (ECMA-48).
inline constexpr std::string_view wipe_line = "\r\x1b[K";

}  // namespace xenpv
