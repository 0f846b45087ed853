// Functions that encode messages byte by byte, and show bytes in readable form.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace xenpv::nbd::test {

inline constexpr std::uint64_t kib = 1024;
inline constexpr std::uint64_t mib = kib * kib;

/// Encodes `value` as `size` bytes in big-endian order.
inline std::string number(std::uint64_t value, unsigned size) {
  std::string out;
  for (unsigned i = size; i-- > 0;)
    out.push_back(static_cast<char>(value >> (8 * i)));
  return out;
}
inline std::string be16(std::uint64_t value) {
  return number(value, 2);
}
inline std::string be32(std::uint64_t value) {
  return number(value, 4);
}
inline std::string be64(std::uint64_t value) {
  return number(value, 8);
}

/// Converts text such as "4e42 4441" to bytes. Ignores spaces.
inline std::string unhex(std::string_view digits) {
  std::string out;
  unsigned value = 0;
  bool half = false;
  for (const char c : digits) {
    if (c == ' ') continue;
    value = value << 4U | static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10);
    if (half) out.push_back(static_cast<char>(value));
    half = !half;
  }
  return out;
}
inline std::string hex(std::string_view bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out.push_back(digits[byte >> 4U]);
    out.push_back(digits[byte & 15U]);
  }
  return out;
}

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}
inline std::string as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Removes the spaces from hexadecimal digits, for comparison with hex().
inline std::string digits(std::string_view grouped) {
  return hex(unhex(grouped));
}

}  // namespace xenpv::nbd::test
