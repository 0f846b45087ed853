#include "xenpv/nbd/access_list.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "base/parse.hpp"
#include "base/utf8.hpp"
#include "base/words.hpp"

namespace xenpv::nbd {
namespace {

using address_family = peer_address::family;
using proof = tls_identity::proof;

std::optional<char> escaped_byte(std::string_view digits) noexcept {
  unsigned value = 0;
  if (digits.size() < 2) return std::nullopt;
  const auto [end, code] = std::from_chars(digits.data(), digits.data() + 2, value, 16);
  if (code != std::errc{} || end != digits.data() + 2) return std::nullopt;
  return static_cast<char>(value);
}

/// One attribute of a distinguished name.
struct attribute {
  std::string type;
  std::string value;
  std::size_t trimmed = 0;  ///< length without trailing blanks that were not escaped
  bool in_value = false;
};

/// Appends the attribute in a form that is equal for equal attributes. Returns false if it has no
/// type or no "=".
bool append_canonical(std::string& out, attribute& part) {
  part.value.resize(std::min(part.trimmed, part.value.size()));
  if (!part.in_value || trim(part.type).empty()) return false;
  for (const char c : trim(part.type))
    out += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  out += fmt::format("={}:{}", part.value.size(), part.value);
  return true;
}

/// Converts a distinguished name (RFC 2253) to a form that is equal for names that differ only in
/// their escapes, in blanks around separators, or in the case of attribute types.
std::optional<std::string> canonical_subject(std::string_view text) {
  std::string out;
  attribute part;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\\' && part.in_value) {
      const auto byte = escaped_byte(text.substr(i + 1));
      if (!byte && i + 1 == text.size()) return std::nullopt;
      // A value that starts with "\#" is text; "#" begins a hexadecimal value.
      if (part.value.empty() && !byte && text[i + 1] == '#') part.value += '\\';
      part.value += byte ? *byte : text[i + 1];
      part.trimmed = part.value.size();
      i += byte ? 2U : 1U;
    } else if (c == ',' || c == '+') {
      if (!append_canonical(out, part)) return std::nullopt;
      out += c;
      part = {};
    } else if (!part.in_value) {
      if (c == '=')
        part.in_value = true;
      else
        part.type += c;
    } else if (c != ' ' || !part.value.empty()) {
      part.value += c;
      if (c != ' ') part.trimmed = part.value.size();
    }
  }
  if (!append_canonical(out, part)) return std::nullopt;
  return out;
}

unsigned size_in_bits(address_family kind) noexcept {
  return kind == address_family::ipv4 ? 32 : kind == address_family::ipv6 ? 128 : 0;
}

/// Compares the first `bits` bits.
bool has_prefix(const peer_address& address, const peer_address& prefix, unsigned bits) noexcept {
  for (std::size_t i = 0; i < address.bytes.size() && bits > 0; ++i) {
    const auto used = std::min(bits, 8U);
    const auto mask = static_cast<std::uint8_t>(0xFFU << (8U - used));
    if (((address.bytes[i] ^ prefix.bytes[i]) & mask) != 0) return false;
    bits -= used;
  }
  return true;
}

/// Clears all bits after the first `bits`.
peer_address masked(peer_address address, unsigned bits) noexcept {
  for (auto& byte : address.bytes) {
    const auto used = std::min(bits, 8U);
    byte = static_cast<std::uint8_t>(byte & (0xFFU << (8U - used)));
    bits -= used;
  }
  return address;
}

std::optional<peer_address> parse_address(const std::string& text) {
  peer_address out;
  if (::inet_pton(AF_INET, text.c_str(), out.bytes.data()) == 1) {
    out.kind = address_family::ipv4;
    return out;
  }
  if (::inet_pton(AF_INET6, text.c_str(), out.bytes.data()) != 1) return std::nullopt;
  out.kind = address_family::ipv6;
  return out;
}

bool is_mapped_ipv4(const peer_address& address) noexcept {
  constexpr std::array<std::uint8_t, 12> prefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
  return address.kind == address_family::ipv6 &&
         std::equal(prefix.begin(), prefix.end(), address.bytes.begin());
}

/// "192.0.2.0", without a port.
std::string host_of(const peer_address& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  ::inet_ntop(address.kind == address_family::ipv4 ? AF_INET : AF_INET6, address.bytes.data(),
              text.data(), text.size());
  return text.data();
}

/// Removes the next word from `line`; nullopt at the end or before a comment. A word in double
/// quotes may contain blanks; \" in it does not end it. Sets `is_open` if the closing quote is
/// missing.
std::optional<std::string> take_word(std::string_view& line, bool& is_open) {
  const auto first = line.find_first_not_of(blanks);
  if (first == std::string_view::npos || line[first] == '#') return std::nullopt;
  line.remove_prefix(first);
  if (line.front() != '"') return std::string(*next_word(line));
  for (std::size_t i = 1; i < line.size(); ++i) {
    if (line[i] == '\\') {
      ++i;
    } else if (line[i] == '"') {
      std::string out(line.substr(1, i - 1));
      line.remove_prefix(i + 1);
      return out;
    }
  }
  is_open = true;
  return std::nullopt;
}

}  // namespace

std::string_view to_string(access value) noexcept {
  switch (value) {
    case access::none:
      return "none";
    case access::read_only:
      return "read-only";
    case access::read_write:
      return "read-write";
  }
  return "unknown";
}

std::string to_string(const tls_identity& identity) {
  switch (identity.kind) {
    case proof::none:
      break;
    case proof::key:
      return "psk:" + printable(identity.name);
    case proof::certificate:
      return "cert:" + printable(identity.name);
  }
  return {};
}

/// Parses one line. Each function returns a problem, or an empty text.
struct access_list::parser {
  rule made;
  bool is_any = false;

  std::string parse(std::string_view line) {
    bool is_open = false;
    if (auto problem = parse_verdict(line); !problem.empty()) return problem;
    while (const auto word = take_word(line, is_open))
      if (auto problem = add_condition(*word); !problem.empty()) return problem;
    if (is_open) return "a double quote is not closed";
    if (!made.from && !made.identity && !is_any)
      return "expected a condition: psk:USER, cert:SUBJECT, address:NETWORK, vsock:CID, unix or "
             "any";
    return {};
  }

 private:
  std::string parse_verdict(std::string_view& line) {
    const auto verdict = next_word(line).value_or("");
    if (verdict == "deny") return {};
    const auto mode = verdict == "allow" ? next_word(line).value_or("") : "";
    if (mode != "rw" && mode != "ro") return "a rule begins with allow rw, allow ro or deny";
    made.grants = mode == "rw" ? access::read_write : access::read_only;
    return {};
  }

  std::string add_condition(std::string_view word) {
    const auto colon = word.find(':');
    const auto kind = word.substr(0, colon);
    const auto value =
        colon == std::string_view::npos ? std::string_view() : word.substr(colon + 1);
    const bool has_value = !value.empty();
    if (word == "any") return set_any();
    if (is_any) return "any cannot be combined with other conditions";
    if (word == "unix") return set_network({{.kind = address_family::unix_socket}, 0});
    if (kind == "psk" && has_value) return set_identity(proof::key, value);
    if (kind == "cert" && has_value) return set_subject(value);
    if (kind == "address" && has_value) return set_address(value);
    if (kind == "vsock" && has_value) return set_vsock(value);
    return fmt::format(
        "unknown condition '{}' (expected psk:USER, cert:SUBJECT, address:NETWORK, vsock:CID, unix "
        "or any)",
        printable(word, 64));
  }

  std::string set_any() {
    if (made.from || made.identity) return "any cannot be combined with other conditions";
    is_any = true;
    return {};
  }

  std::string set_network(network value) {
    if (made.from) return "a rule has at most one address; write one rule for each";
    made.from = value;
    return {};
  }

  std::string set_identity(proof kind, std::string_view name) {
    if (made.identity) return "a rule has at most one identity; write one rule for each";
    made.identity = tls_identity{kind, name == "*" ? std::string() : std::string(name)};
    return {};
  }

  std::string set_subject(std::string_view text) {
    if (text == "*") return set_identity(proof::certificate, text);
    const auto subject = canonical_subject(text);
    if (!subject)
      return fmt::format("'{}' is not a certificate subject such as CN=backup,O=Example",
                         printable(text, 64));
    return set_identity(proof::certificate, *subject);
  }

  std::string set_address(std::string_view text) {
    const auto slash = text.find('/');
    const auto shown = printable(text, 64);
    const auto base = parse_address(std::string(text.substr(0, slash)));
    if (!base) return fmt::format("'{}' is not an IPv4 or IPv6 address or network", shown);
    if (is_mapped_ipv4(*base))
      return fmt::format("'{}' never matches; write it as an IPv4 address", shown);
    const auto most = size_in_bits(base->kind);
    auto bits = std::optional(most);
    if (slash != std::string_view::npos) bits = parse_whole<unsigned>(text.substr(slash + 1));
    if (!bits || *bits > most)
      return fmt::format("'{}': expected a prefix length of 0 to {}", shown, most);
    if (const auto network = masked(*base, *bits); network != *base)
      return fmt::format("'{}' is not a network; did you mean {}/{}?", shown, host_of(network),
                         *bits);
    return set_network({*base, *bits});
  }

  std::string set_vsock(std::string_view text) {
    const auto cid = parse_whole<std::uint32_t>(text);
    if (!cid || *cid == std::numeric_limits<std::uint32_t>::max())
      return fmt::format("'{}' is not a vsock context ID", printable(text, 64));
    return set_network({{.kind = address_family::vsock, .number = *cid}, 0});
  }
};

result<access_list> access_list::parse(std::string_view text, std::string_view source) {
  access_list out;
  std::size_t number = 0;
  std::size_t covers_all = 0;  ///< line of a rule that matches every client
  for (const auto line : split(text, '\n')) {
    ++number;
    const auto content = trim(line);
    if (content.empty() || content.starts_with('#')) continue;
    parser parser;
    auto problem = parser.parse(content);
    if (problem.empty() && covers_all != 0)
      problem = fmt::format("never used: the rule in line {} matches all clients", covers_all);
    if (!problem.empty())
      return make_error(errc::invalid_argument, fmt::format("{}:{}", source, number), problem);
    if (parser.is_any) covers_all = number;
    out.rules_.push_back(std::move(parser.made));
  }
  if (out.rules_.empty())
    return make_error(errc::invalid_argument, source,
                      "no rules, so nobody could connect; for example: allow rw psk:USER");
  return out;
}

bool access_list::contains(const network& range, const peer_address& peer) noexcept {
  const auto& base = range.base;
  if (peer.kind != base.kind) return false;
  if (base.kind == address_family::vsock) return peer.number == base.number;
  return has_prefix(peer, base, range.bits);
}

access access_list::decide(const peer_address& peer, const tls_identity& identity) const {
  const auto name = identity.kind == proof::certificate ? canonical_subject(identity.name)
                                                        : std::optional(identity.name);
  for (const auto& entry : rules_) {
    if (entry.from && !contains(*entry.from, peer)) continue;
    if (!entry.identity) return entry.grants;
    const bool is_this_kind = identity.kind != proof::none && identity.kind == entry.identity->kind;
    if (is_this_kind && (entry.identity->name.empty() || name == entry.identity->name))
      return entry.grants;
  }
  return access::none;
}

access access_list::decide_address(const peer_address& peer) const noexcept {
  auto best = access::none;
  for (const auto& entry : rules_) {
    if (entry.from && !contains(*entry.from, peer)) continue;
    best = std::max(best, entry.grants);
    if (!entry.identity) break;
  }
  return best;
}

access access_list::most() const noexcept {
  auto best = access::none;
  for (const auto& entry : rules_)
    best = std::max(best, entry.grants);
  return best;
}

bool access_list::requires_identity() const noexcept {
  return std::ranges::all_of(rules_, [](const rule& entry) {
    return entry.grants == access::none || entry.identity.has_value();
  });
}

}  // namespace xenpv::nbd
