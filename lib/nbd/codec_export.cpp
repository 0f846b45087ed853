#include "nbd/codec_export.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <string_view>

#include "nbd/codec_reply.hpp"
#include "xenpv/wire/nbd.hpp"

namespace xenpv::nbd {
namespace {

std::string_view text_fault(std::string_view text) noexcept {
  if (text.size() > longest_offered_text) return "is longer than 1023 bytes";
  return is_protocol_string(text) ? "" : "is not UTF-8 or contains a NUL";
}

/// Returns the first violated rule of section "Size constraints"; empty if there is none.
std::string_view size_fault(const export_info& exported) noexcept {
  const auto minimum = exported.minimum_block;
  if (!std::has_single_bit(minimum) || minimum > 65536)
    return "the minimum block size is not a power of two up to 65536";
  if (!std::has_single_bit(exported.preferred_block) ||
      exported.preferred_block < std::max(minimum, 512U))
    return "the preferred block size is not a power of two, or less than 512 or the minimum";
  if (exported.maximum_block < exported.preferred_block)
    return "the maximum block size is smaller than the preferred one";
  if (exported.maximum_block % minimum != 0 && exported.maximum_block != 0xFFFFFFFF)
    return "the maximum block size is not a multiple of the minimum";
  if (exported.size % minimum != 0) return "the size is not a multiple of the minimum block size";
  return "";
}

}  // namespace

std::uint16_t transmission_flags(const export_info& exported, bool structured) noexcept {
  unsigned flags = wire::nbd_flag_has_flags;
  const auto add = [&](bool enabled, unsigned flag) {
    if (enabled) flags |= flag;
  };
  add(exported.read_only, wire::nbd_flag_read_only);
  add(exported.can_flush && exported.can_fua, wire::nbd_flag_send_fua);
  add(exported.rotational, wire::nbd_flag_rotational);
  add(structured, wire::nbd_flag_send_df);
  add(exported.can_multi_conn, wire::nbd_flag_can_multi_conn);
  for (const auto& rules : command_table)
    add(rules.feature != nullptr && exported.*rules.feature &&
            !(rules.writes && exported.read_only),
        rules.announced_by);
  add((flags & wire::nbd_flag_send_write_zeroes) != 0 && exported.can_fast_zero,
      wire::nbd_flag_send_fast_zero);
  return static_cast<std::uint16_t>(flags);
}

result<void> validate(const export_info& exported) {
  const auto refuse = [&](std::string_view property, std::string_view fault) {
    std::string name(std::min(exported.name.size(), longest_offered_text), '\0');
    name.resize(copy_text(std::as_writable_bytes(std::span(name)), exported.name));
    return error{errc::invalid_argument, fmt::format("offer export '{}': {}{}{}", name, property,
                                                     property.empty() ? "" : " ", fault)};
  };
  if (const auto fault = text_fault(exported.name); !fault.empty())
    return refuse("its name", fault);
  if (const auto fault = text_fault(exported.description); !fault.empty())
    return refuse("its description", fault);
  if (const auto fault = size_fault(exported); !fault.empty()) return refuse("", fault);
  return {};
}

}  // namespace xenpv::nbd
