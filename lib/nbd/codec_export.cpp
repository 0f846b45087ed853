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
  return is_protocol_string(text) ? "" : "is not UTF-8, or has a NUL in it";
}

/// Section "Size constraints".
std::string_view size_fault(const export_info& of) noexcept {
  const auto least = of.minimum_block;
  if (!std::has_single_bit(least) || least > 65536)
    return "the minimum block size is not a power of two up to 65536";
  if (!std::has_single_bit(of.preferred_block) || of.preferred_block < std::max(least, 512U))
    return "the preferred block size is not a power of two from 512 and the minimum on";
  if (of.maximum_block < of.preferred_block)
    return "the maximum block size is smaller than the preferred one";
  if (of.maximum_block % least != 0 && of.maximum_block != 0xFFFFFFFF)
    return "the maximum block size is no multiple of the minimum";
  if (of.size % least != 0) return "the size is no multiple of the minimum block size";
  return "";
}

}  // namespace

std::uint16_t transmission_flags(const export_info& of, bool structured) noexcept {
  unsigned flags = wire::nbd_flag_has_flags;
  const auto add = [&](bool wanted, unsigned flag) {
    if (wanted) flags |= flag;
  };
  const bool can_zero = of.can_write_zeroes && !of.read_only;
  add(of.read_only, wire::nbd_flag_read_only);
  add(of.can_flush, wire::nbd_flag_send_flush);
  add(of.can_flush && of.can_fua, wire::nbd_flag_send_fua);
  add(of.rotational, wire::nbd_flag_rotational);
  add(of.can_trim && !of.read_only, wire::nbd_flag_send_trim);
  add(can_zero, wire::nbd_flag_send_write_zeroes);
  add(structured, wire::nbd_flag_send_df);
  add(of.can_multi_conn, wire::nbd_flag_can_multi_conn);
  add(of.can_cache, wire::nbd_flag_send_cache);
  add(can_zero && of.can_fast_zero, wire::nbd_flag_send_fast_zero);
  return static_cast<std::uint16_t>(flags);
}

result<void> validate(const export_info& offered) {
  const auto refuse = [&](std::string_view what, std::string_view fault) {
    std::string name(std::min(offered.name.size(), longest_offered_text), '\0');
    name.resize(copy_text(std::as_writable_bytes(std::span(name)), offered.name));
    return error{errc::invalid_argument, fmt::format("offer export '{}': {}{}{}", name, what,
                                                     what.empty() ? "" : " ", fault)};
  };
  if (const auto fault = text_fault(offered.name); !fault.empty()) return refuse("its name", fault);
  if (const auto fault = text_fault(offered.description); !fault.empty())
    return refuse("its description", fault);
  for (const auto& context : offered.contexts) {
    if (const auto fault = text_fault(context); !fault.empty())
      return refuse("a metadata context's name", fault);
    if (context.find(':') == std::string::npos)
      return refuse("a metadata context's name", "has no namespace");
  }
  if (const auto fault = size_fault(offered); !fault.empty()) return refuse("", fault);
  return {};
}

}  // namespace xenpv::nbd
