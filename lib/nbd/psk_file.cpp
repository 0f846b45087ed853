#include "nbd/psk_file.hpp"

#include <fmt/format.h>

#include <optional>
#include <unordered_map>

#include "base/parse.hpp"
#include "base/shell_quote.hpp"

namespace xenpv::nbd {
namespace {

std::optional<unsigned> digit_of(char c) noexcept {
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return static_cast<unsigned>(c - 'A' + 10);
  return std::nullopt;
}

std::optional<std::vector<std::byte>> decode_hexadecimal(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  std::vector<std::byte> out;
  out.reserve(text.size() / 2);
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const auto high = digit_of(text[i]);
    const auto low = digit_of(text[i + 1]);
    if (!high || !low) return std::nullopt;
    out.push_back(static_cast<std::byte>(*high << 4U | *low));
  }
  return out;
}

std::optional<std::string> decode_name(std::string_view text) {
  if (!text.starts_with('#')) return std::string(text);
  const auto bytes = decode_hexadecimal(text.substr(1));
  if (!bytes) return std::nullopt;
  return std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size());
}

bool is_ignored(std::string_view line) noexcept {
  return line.empty() || line == "#" || line.starts_with("# ");
}

// The messages below name these limits.
static_assert(longest_psk_name == 256 && shortest_psk == 16 && longest_psk == 512);

/// Parses a line into `user`. Returns nullptr on success, otherwise the problem.
const char* parse_line(std::string_view line, psk_user& user) {
  const auto colon = line.find(':');
  if (colon == std::string_view::npos) return "expected USER:KEY, as written by psktool";
  auto name = decode_name(line.substr(0, colon));
  if (!name) return "the name begins with # but is not in hexadecimal";
  if (name->empty()) return "the name before the colon is empty";
  // OpenSSL handles names as NUL-terminated strings.
  if (name->find('\0') != std::string::npos) return "the name contains a NUL";
  if (name->size() > longest_psk_name) return "the name is longer than 256 bytes";
  auto key = decode_hexadecimal(line.substr(colon + 1));
  if (!key) return "the key is not hexadecimal with two digits per byte";
  if (key->size() < shortest_psk) return "the key is shorter than 16 bytes (32 hexadecimal digits)";
  if (key->size() > longest_psk) return "the key is longer than 512 bytes";
  user = {std::move(*name), std::move(*key)};
  return nullptr;
}

}  // namespace

result<std::vector<psk_user>> parse_psk_file(std::string_view text, std::string_view path) {
  std::vector<psk_user> out;
  std::unordered_map<std::string, std::size_t> line_of;
  std::size_t number = 0;
  for (auto line : split(text, '\n')) {
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (is_ignored(line)) continue;
    const auto position = fmt::format("{}:{}", path, number);
    psk_user user;
    if (const auto* const problem = parse_line(line, user))
      return make_error(errc::invalid_argument, position, problem);
    const auto [before, is_new] = line_of.emplace(user.name, number);
    if (!is_new)
      return make_error(errc::invalid_argument, position,
                        fmt::format("duplicate name; see line {}", before->second));
    out.push_back(std::move(user));
  }
  if (out.empty())
    return make_error(
        errc::invalid_argument, path,
        fmt::format("no users; add one with psktool -u USER -p {}", shell_quote(path)));
  return out;
}

}  // namespace xenpv::nbd
