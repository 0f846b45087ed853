#include "base/utf8.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
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

struct character {
  std::size_t length = 0;  ///< in bytes; 0: invalid
  std::uint32_t point = 0;
};

character first_character(std::string_view text) noexcept {
  if (text.empty()) return {};
  const auto [length, first_bits, least] = sequence_of(static_cast<unsigned char>(text[0]));
  if (length == 0 || text.size() < length) return {};
  std::uint32_t point = first_bits;
  for (std::size_t i = 1; i < length; ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if ((byte & 0xC0U) != 0x80U) return {};
    point = point << 6U | (byte & 0x3FU);
  }
  const bool surrogate = point >= 0xD800 && point <= 0xDFFF;
  if (point < least || point > 0x10FFFF || surrogate) return {};
  return {length, point};
}

struct point_range {
  std::uint32_t first, last;
};

/// Control characters, and Unicode's default-ignorable characters, bidirectional controls and line
/// separators.
constexpr std::array invisible = {
    point_range{0x0000, 0x001F},  point_range{0x007F, 0x009F},   point_range{0x00AD, 0x00AD},
    point_range{0x034F, 0x034F},  point_range{0x061C, 0x061C},   point_range{0x115F, 0x1160},
    point_range{0x17B4, 0x17B5},  point_range{0x180B, 0x180F},   point_range{0x200B, 0x200F},
    point_range{0x2028, 0x202E},  point_range{0x2060, 0x206F},   point_range{0x3164, 0x3164},
    point_range{0xFE00, 0xFE0F},  point_range{0xFEFF, 0xFEFF},   point_range{0xFFA0, 0xFFA0},
    point_range{0xFFF0, 0xFFFB},  point_range{0x1BCA0, 0x1BCA3}, point_range{0x1D173, 0x1D17A},
    point_range{0xE0000, 0xE0FFF}};

bool is_visible_point(std::uint32_t point) noexcept {
  return std::ranges::none_of(invisible, [point](const point_range& range) {
    return point >= range.first && point <= range.last;
  });
}

bool is_plain(char c) noexcept {
  return c >= ' ' && c <= '~';
}

/// Appends \uNNNN, or a surrogate pair.
void append_json_escape(std::string& out, std::uint32_t point) {
  if (point < 0x10000) {
    out += fmt::format("\\u{:04x}", point);
    return;
  }
  const auto rest = point - 0x10000;
  out += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (rest >> 10U), 0xDC00 + (rest & 0x3FFU));
}

}  // namespace

std::size_t utf8_length(std::string_view text) noexcept {
  return first_character(text).length;
}

bool is_visible(std::string_view text) noexcept {
  const auto [length, point] = first_character(text);
  return length > 0 && is_visible_point(point);
}

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    if (is_plain(text.front())) {
      out += text.front();
      text.remove_prefix(1);
      continue;
    }
    const auto [length, point] = first_character(text);
    const auto size = std::max<std::size_t>(length, 1);
    if (length > 0 && is_visible_point(point))
      out += text.substr(0, size);
    else
      for (const char byte : text.substr(0, size))
        out += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
    text.remove_prefix(size);
  }
  return out;
}

std::string printable(std::string_view text, std::size_t most) {
  constexpr std::string_view mark = "...";
  auto out = printable(text.substr(0, most + 1));
  if (out.size() <= most && text.size() <= most) return out;
  auto size = most > mark.size() ? most - mark.size() : 0;
  while (size > 0 && (static_cast<unsigned char>(out[size]) & 0xC0U) == 0x80U)
    --size;
  out.resize(size);
  return out.append(mark);
}

std::string printable_lines(std::string_view text) {
  std::string out;
  for (;;) {
    const auto end = text.find('\n');
    out += printable(text.substr(0, end));
    if (end == std::string_view::npos) return out;
    out += "\n  ";
    text.remove_prefix(end + 1);
  }
}

std::string printable_json(std::string_view json) {
  std::string out;
  out.reserve(json.size());
  while (!json.empty()) {
    const auto [length, point] = first_character(json);
    if (length == 0)
      append_json_escape(out, 0xFFFD);
    else if (point < 0x7F || is_visible_point(point))
      out += json.substr(0, length);
    else
      append_json_escape(out, point);
    json.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return out;
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
