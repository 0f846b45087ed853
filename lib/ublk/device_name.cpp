#include "ublk/device_name.hpp"

#include <fmt/format.h>

#include "base/numbered_device.hpp"
#include "base/parse.hpp"

namespace xenpv::ublk {

std::string device_name(std::uint32_t index) {
  return fmt::format("ublkb{}", index);
}

std::string device_path(std::uint32_t index) {
  return "/dev/" + device_name(index);
}

std::optional<std::uint32_t> device_index(std::string_view name) {
  return parse_numbered_device(name, "ublkb");
}

std::optional<std::uint64_t> device_sequence(std::uint32_t index, const system_root& root) {
  const auto text = root.read(fmt::format("/sys/block/{}/diskseq", device_name(index)));
  if (!text) return std::nullopt;
  return parse_whole<std::uint64_t>(*text);
}

std::optional<bool> device_is_read_only(std::uint32_t index, const system_root& root) {
  const auto text = root.read(fmt::format("/sys/block/{}/ro", device_name(index)));
  if (!text) return std::nullopt;
  return text->starts_with('1');
}

}  // namespace xenpv::ublk
