#include "base/utf8.hpp"

#include <algorithm>
#include <cstdint>

namespace xenpv {
namespace {

struct sequence {
  std::size_t length;
  std::uint32_t first_bits;
  std::uint32_t least;  ///< smallest code point that needs this length; a smaller one is overlong
};

sequence sequence_of(unsigned char lead) noexcept {
  if (lead < 0x80) return {1, lead, 0};
  if (lead >= 0xC0 && lead < 0xE0) return {2, lead & 0x1FU, 0x80};
  if (lead >= 0xE0 && lead < 0xF0) return {3, lead & 0x0FU, 0x800};
  if (lead >= 0xF0 && lead < 0xF8) return {4, lead & 0x07U, 0x10000};
  return {0, 0, 0};
}

}  // namespace

std::size_t utf8_length(std::string_view text) noexcept {
  if (text.empty()) return 0;
  const auto [length, first_bits, least] = sequence_of(static_cast<unsigned char>(text[0]));
  if (length == 0 || text.size() < length) return 0;
  std::uint32_t point = first_bits;
  for (std::size_t i = 1; i < length; ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if ((byte & 0xC0U) != 0x80U) return 0;
    point = point << 6U | (byte & 0x3FU);
  }
  const bool surrogate = point >= 0xD800 && point <= 0xDFFF;
  return point < least || point > 0x10FFFF || surrogate ? 0 : length;
}

namespace {

bool starts_character(char byte) noexcept {
  return (static_cast<unsigned char>(byte) & 0xC0U) != 0x80U;
}

}  // namespace

std::size_t utf8_characters(std::string_view text) noexcept {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), starts_character));
}

std::string_view utf8_prefix(std::string_view text, std::size_t count) noexcept {
  std::size_t size = 0;
  for (; size < text.size(); ++size)
    if (starts_character(text[size]) && count-- == 0) break;
  return text.substr(0, size);
}

}  // namespace xenpv
