#include "nbd/negotiation_option.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/utf8.hpp"
#include "nbd/codec_reply.hpp"
#include "wire/nbd_message.hpp"

namespace xenpv::nbd {
namespace {

/// Reads numbers and strings from the front; past the end, returns zeros and empty strings.
class reader {
 public:
  explicit reader(std::string_view data) noexcept : data_(data) {}

  template <class Number>
  auto number() noexcept {
    Number value{};
    const auto bytes = take(sizeof value);
    if (!failed_) std::memcpy(&value, bytes.data(), sizeof value);
    return value.value();
  }
  std::string_view text() noexcept { return take(number<wire::be32>()); }
  [[nodiscard]] std::size_t left() const noexcept { return data_.size(); }
  [[nodiscard]] bool has_failed() const noexcept { return failed_; }

 private:
  std::string_view take(std::size_t size) noexcept {
    failed_ = failed_ || size > data_.size();
    if (failed_) return {};
    const auto part = data_.substr(0, size);
    data_.remove_prefix(size);
    return part;
  }

  std::string_view data_;
  bool failed_ = false;
};

template <class Part>
void append(std::string& out, const Part& part) {
  out.append(reinterpret_cast<const char*>(&part), sizeof part);
}

/// Returns at most `most` bytes of `text`, sanitised to valid UTF-8.
std::string clean(std::string_view text, std::size_t most) {
  std::string out(std::min(text.size(), most), '\0');
  out.resize(copy_text(std::as_writable_bytes(std::span(out)), text));
  return out;
}

std::string info_text(wire::nbd_info type, std::string_view text) {
  std::string data;
  append(data, wire::be16(static_cast<std::uint16_t>(type)));
  return data.append(text);
}

}  // namespace

std::optional<info_request> parse_info_request(std::string_view data) noexcept {
  reader in(data);
  info_request out;
  out.name = in.text();
  const auto count = in.number<wire::be16>();
  if (in.has_failed() || in.left() != std::size_t{count} * sizeof(wire::be16)) return std::nullopt;
  for (unsigned i = 0; i < count; ++i) {
    // NBD_INFO_EXPORT is always sent; unknown types are ignored.
    const auto type = static_cast<wire::nbd_info>(in.number<wire::be16>());
    out.wants_name |= type == wire::nbd_info::name;
    out.wants_description |= type == wire::nbd_info::description;
    out.wants_block_size |= type == wire::nbd_info::block_size;
  }
  return is_protocol_string(out.name) ? std::optional(out) : std::nullopt;
}

std::string option_reply(wire::nbd_option option, wire::nbd_reply type, std::string_view data) {
  std::string out;
  append(out, wire::nbd_option_reply_header{wire::be64(wire::nbd_option_reply_magic),
                                            wire::be32(static_cast<std::uint32_t>(option)),
                                            wire::be32(static_cast<std::uint32_t>(type)),
                                            wire::be32(static_cast<std::uint32_t>(data.size()))});
  return out.append(data);
}

std::string server_reply(const export_info& exported) {
  std::string data;
  append(data, wire::be32(static_cast<std::uint32_t>(exported.name.size())));
  data += exported.name;
  data += exported.description;
  return option_reply(wire::nbd_option::list, wire::nbd_reply::server, data);
}

std::vector<std::string> info_replies(wire::nbd_option option, const export_info& exported,
                                      const info_request& request, bool structured) {
  std::vector<std::string> out;
  const auto add = [&](std::string_view data) {
    out.push_back(option_reply(option, wire::nbd_reply::info, data));
  };
  std::string fixed;
  append(fixed,
         wire::nbd_info_export{wire::be16(static_cast<std::uint16_t>(wire::nbd_info::export_data)),
                               wire::be64(exported.size),
                               wire::be16(transmission_flags(exported, structured))});
  add(fixed);
  if (request.wants_name) add(info_text(wire::nbd_info::name, exported.name));
  if (request.wants_description && !exported.description.empty())
    add(info_text(wire::nbd_info::description, exported.description));
  if (request.wants_block_size) {
    fixed.clear();
    append(fixed, wire::nbd_info_block_size{
                      wire::be16(static_cast<std::uint16_t>(wire::nbd_info::block_size)),
                      wire::be32(exported.minimum_block), wire::be32(exported.preferred_block),
                      wire::be32(exported.maximum_block)});
    add(fixed);
  }
  return out;
}

std::string error_reply(wire::nbd_option option, wire::nbd_reply type, std::string_view text) {
  return option_reply(option, type, clean(text, longest_offered_text));
}

std::string describe_unavailable(const export_info& exported) {
  return fmt::format("export '{}' is not available: {}", printable(exported.name, 200),
                     exported.unavailable);
}

std::string export_name_reply(const export_info& exported, bool structured, bool no_zeroes) {
  std::string out;
  append(out, wire::nbd_export_name_reply{wire::be64(exported.size),
                                          wire::be16(transmission_flags(exported, structured))});
  if (!no_zeroes) out.append(wire::nbd_export_name_zeroes, '\0');
  return out;
}

}  // namespace xenpv::nbd
