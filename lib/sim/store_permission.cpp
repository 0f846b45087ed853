#include "sim/store_permission.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <limits>

namespace xenpv::sim {

bool store_rights::cover(const store_rights& required) const noexcept {
  return (read || !required.read) && (write || !required.write) && (own || !required.own);
}

bool store_rights::touch(const store_rights& required) const noexcept {
  return (read && required.read) || (write && required.write) || (own && required.own);
}

std::string format_permission(const store_permission& permission) {
  const char kind = permission.read ? (permission.write ? 'b' : 'r') : permission.write ? 'w' : 'n';
  return fmt::format("{}{}", kind, permission.domain);
}

std::optional<store_permission> parse_permission(std::string_view text) {
  if (text.size() < 2) return std::nullopt;
  store_permission permission{};
  switch (text.front()) {
    case 'r':
      permission.read = true;
      break;
    case 'w':
      permission.write = true;
      break;
    case 'b':
      permission.read = permission.write = true;
      break;
    case 'n':
      break;
    default:
      return std::nullopt;
  }
  const std::string digits(text.substr(1));
  char* end = nullptr;
  const long number = std::strtol(digits.c_str(), &end, 10);
  if (end != digits.c_str() + digits.size() || number < 0 ||
      number > std::numeric_limits<std::uint16_t>::max())
    return std::nullopt;
  permission.domain = domid{static_cast<std::uint16_t>(number)};
  return permission;
}

}  // namespace xenpv::sim
