// Validates and counts UTF-8. Text from a ring, from xenstore or from a file name may be invalid.
#pragma once

#include <cstddef>
#include <string_view>

namespace xenpv {

/// Returns the length in bytes of the character at the start of `text`. 0 if that is not a valid
/// character (empty, truncated, overlong, a surrogate, above U+10FFFF).
[[nodiscard]] std::size_t utf8_length(std::string_view text) noexcept;

/// Counts the characters in valid UTF-8.
[[nodiscard]] std::size_t utf8_characters(std::string_view text) noexcept;
/// Returns the first `count` characters of valid UTF-8, or all if there are fewer.
[[nodiscard]] std::string_view utf8_prefix(std::string_view text, std::size_t count) noexcept;

}  // namespace xenpv
