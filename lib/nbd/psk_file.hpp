// Parses the pre-shared key file of psktool(1), which consists of lines USER:KEY. Does no I/O.
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
/// In bytes. A key shorter than 128 bits can be guessed (RFC 9257, section 6).
inline constexpr std::size_t shortest_psk = 16;
inline constexpr std::size_t longest_psk = 512;

/// Returns the users in line order, at least one. A name that begins with '#' is in hexadecimal
/// (GnuTLS encodes names with a colon or a line break this way). Ignores empty lines and lines that
/// begin with "# ". Errors name "PATH:LINE" and the problem, but never the key.
[[nodiscard]] result<std::vector<psk_user>> parse_psk_file(std::string_view text,
                                                           std::string_view path);

}  // namespace xenpv::nbd
