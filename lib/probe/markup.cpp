#include "probe/markup.hpp"

#include <fmt/format.h>

namespace xenpv::probe {

std::string escaped(std::string_view text) {
  std::string out;
  for (const char character : text) {
    switch (character) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        if (static_cast<unsigned char>(character) >= 0x20) out += character;
    }
  }
  return out;
}

std::string grouped_digits(std::uint64_t number) {
  constexpr std::string_view narrow_space = "\u202f";
  const auto digits = fmt::format("{}", number);
  std::string out;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) out += narrow_space;
    out += digits[i];
  }
  return out;
}

}  // namespace xenpv::probe
