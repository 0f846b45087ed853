// Validates and counts UTF-8, and makes untrusted text safe to display. Text from a ring, from
// xenstore, from a client or from a file name may be invalid or contain control characters.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace xenpv {

/// Returns the length in bytes of the character at the start of `text`. 0 if that is not a valid
/// character (empty, truncated, overlong, a surrogate, above U+10FFFF).
[[nodiscard]] std::size_t utf8_length(std::string_view text) noexcept;

/// True if a terminal or a log viewer shows the valid character at the start of `text`. False for
/// control characters (C0, DEL, C1), for characters that reorder text (bidi marks, embeddings,
/// overrides and isolates), and for invisible ones (zero width, fillers, variation selectors, tags,
/// line and paragraph separators).
[[nodiscard]] bool is_visible(std::string_view text) noexcept;

/// Makes untrusted text safe for a terminal and a log: each byte of invalid UTF-8 and of a
/// character that is not visible becomes \xNN. The result is one line.
[[nodiscard]] std::string printable(std::string_view text);
/// The same, at most `most` bytes long: longer text is truncated and ends in "...".
[[nodiscard]] std::string printable(std::string_view text, std::size_t most);
/// The same for text of several lines, which are kept; all but the first are indented, so that
/// untrusted text cannot imitate a separate message.
[[nodiscard]] std::string printable_lines(std::string_view text);
/// Makes JSON text safe for a terminal: DEL, C1 and all other characters that are not visible
/// become \uNNNN escapes, and invalid UTF-8 becomes \ufffd. Leaves ASCII below DEL unchanged.
[[nodiscard]] std::string printable_json(std::string_view json);

/// Counts the characters in valid UTF-8.
[[nodiscard]] std::size_t utf8_characters(std::string_view text) noexcept;
/// Returns the first `count` characters of valid UTF-8, or all if there are fewer.
[[nodiscard]] std::string_view utf8_prefix(std::string_view text, std::size_t count) noexcept;

}  // namespace xenpv
