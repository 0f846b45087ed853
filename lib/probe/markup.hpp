// Text for HTML and SVG.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace xenpv::probe {

/// Escapes text for elements and for double-quoted attributes. Omits control characters, which XML
/// does not allow.
[[nodiscard]] std::string escaped(std::string_view text);

/// Formats a number with its digits in groups of three, separated by narrow spaces (U+202F) that do
/// not break lines: 12345 is "12 345".
[[nodiscard]] std::string grouped_digits(std::uint64_t number);

}  // namespace xenpv::probe
