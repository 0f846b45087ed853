#include "base/numbered_device.hpp"

#include "base/parse.hpp"

namespace xenpv {

std::optional<std::uint32_t> parse_numbered_device(std::string_view name, std::string_view prefix) {
  if (name.starts_with("/dev/")) name.remove_prefix(5);
  if (!name.starts_with(prefix)) return std::nullopt;
  constexpr std::uint32_t largest = (1U << 20U) - 1;  // a minor number has 20 bits
  const auto index = parse_unsigned(name.substr(prefix.size()), "index", 0, largest);
  if (!index) return std::nullopt;
  return static_cast<std::uint32_t>(*index);
}

}  // namespace xenpv
