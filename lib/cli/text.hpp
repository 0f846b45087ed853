// Display width and line wrapping of text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace xenpv::cli {

/// Returns the number of code points in valid UTF-8, which equals the number of terminal columns
/// except for wide and combining characters.
[[nodiscard]] std::size_t display_width(std::string_view text) noexcept;

/// Returns lines of at most `width` columns, broken at spaces and, within a longer word, between
/// "]" and "[". A part that is still longer gets its own line.
[[nodiscard]] std::vector<std::string> wrap(std::string_view text, std::size_t width);

}  // namespace xenpv::cli
