// Small pieces of text that several writers need: widths and line wrapping.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace xenpv::cli {

/// Code points of valid UTF-8: the columns a terminal needs, wide and combining characters aside.
[[nodiscard]] std::size_t display_width(std::string_view text) noexcept;

/// Lines of at most `width` columns, broken at spaces, and within a longer word between "]" and
/// "["; what is longer still gets a line of its own.
[[nodiscard]] std::vector<std::string> wrap(std::string_view text, std::size_t width);

}  // namespace xenpv::cli
