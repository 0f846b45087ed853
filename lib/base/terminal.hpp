// Detects a terminal that can redraw a line, and its width, and defines the sequence that erases
// the line.
#pragma once

#include <cstddef>
#include <string_view>

namespace xenpv {

/// True for a terminal, unless TERM is unset, empty or "dumb".
[[nodiscard]] bool can_redraw(int descriptor) noexcept;

/// Returns the number of columns that text may use: the terminal's width; for anything else, the
/// value of COLUMNS in the environment, or 80.
[[nodiscard]] std::size_t text_columns(int descriptor) noexcept;

/// Moves to the start of the line and erases the line (ECMA-48).
inline constexpr std::string_view wipe_line = "\r\x1b[K";

}  // namespace xenpv
