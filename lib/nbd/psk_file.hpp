// The file of pre-shared keys that psktool(1) writes: USER:KEY, a line each. Parsed, not read.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/error.hpp"

namespace xenpv::nbd {

struct psk_user {
  std::string name;
  std::vector<std::byte> key;
  friend bool operator==(const psk_user&, const psk_user&) = default;
};

inline constexpr std::size_t longest_psk_name = 256;
/// Bytes. What is shorter than 128 bits can be guessed (RFC 9257, section 6).
inline constexpr std::size_t shortest_psk = 16;
inline constexpr std::size_t longest_psk = 512;

/// In the order of the lines; at least one. A name that begins with '#' is in hexadecimal (GnuTLS
/// writes those so that a colon or a line break may be in it). Empty lines and lines that begin
/// with "# " are left out. Errors say "PATH:LINE" and what is wrong; never what the key is.
[[nodiscard]] result<std::vector<psk_user>> parse_psk_file(std::string_view text,
                                                           std::string_view path);

}  // namespace xenpv::nbd
