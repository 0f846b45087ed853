#include "nbd/negotiation_option.hpp"

#include <algorithm>
#include <cstring>

#include "nbd/codec_reply.hpp"
#include "xenpv/wire/nbd_message.hpp"

namespace xenpv::nbd {
namespace {

/// Takes numbers and strings from the front; once it ran out, it gives zeros and empty strings.
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
  /// Everything was there, and nothing more.
  [[nodiscard]] bool is_complete() const noexcept { return !failed_ && data_.empty(); }

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
void append(std::string& to, const Part& part) {
  to.append(reinterpret_cast<const char*>(&part), sizeof part);
}

/// At most `most` bytes, clean.
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

bool matches(std::string_view context, std::string_view query, bool to_set) noexcept {
  if (context == query) return true;
  return !to_set && query.ends_with(':') && context.starts_with(query);
}

}  // namespace

std::optional<info_request> parse_info_request(std::string_view data) noexcept {
  reader in(data);
  info_request out;
  out.name = in.text();
  const auto count = in.number<wire::be16>();
  if (in.has_failed() || in.left() != std::size_t{count} * sizeof(wire::be16)) return std::nullopt;
  for (unsigned i = 0; i < count; ++i) {
    // NBD_INFO_EXPORT is always sent, and what is unknown is ignored.
    const auto type = static_cast<wire::nbd_info>(in.number<wire::be16>());
    out.wants_name |= type == wire::nbd_info::name;
    out.wants_description |= type == wire::nbd_info::description;
    out.wants_block_size |= type == wire::nbd_info::block_size;
  }
  return is_protocol_string(out.name) ? std::optional(out) : std::nullopt;
}

std::optional<meta_context_request> parse_meta_context_request(std::string_view data) {
  reader in(data);
  meta_context_request out;
  out.name = in.text();
  const auto count = in.number<wire::be32>();
  // Each takes four bytes at least, so a count cannot make us work without data.
  if (in.has_failed() || in.left() / sizeof(wire::be32) < count || !is_protocol_string(out.name))
    return std::nullopt;
  for (std::uint32_t i = 0; i < count && !in.has_failed(); ++i) {
    const auto query = in.text();
    // It starts with a namespace.
    if (query.find(':') == std::string_view::npos || !is_protocol_string(query))
      return std::nullopt;
    out.queries.push_back(query);
  }
  return in.is_complete() ? std::optional(std::move(out)) : std::nullopt;
}

std::vector<selected_context> match_contexts(std::span<const std::string> offered,
                                             const meta_context_request& request, bool to_set) {
  std::vector<selected_context> out;
  for (std::size_t i = 0; i < offered.size(); ++i) {
    const auto is_asked_for = [&](std::string_view query) {
      return matches(offered[i], query, to_set);
    };
    const bool all = !to_set && request.queries.empty();
    // Clients are to ignore the id in a list; there it is 0.
    if (all || std::ranges::any_of(request.queries, is_asked_for))
      out.push_back({to_set ? static_cast<std::uint32_t>(i + 1) : 0, offered[i]});
  }
  return out;
}

std::string option_reply(wire::nbd_option to, wire::nbd_reply type, std::string_view data) {
  std::string out;
  append(out, wire::nbd_option_reply_header{wire::be64(wire::nbd_option_reply_magic),
                                            wire::be32(static_cast<std::uint32_t>(to)),
                                            wire::be32(static_cast<std::uint32_t>(type)),
                                            wire::be32(static_cast<std::uint32_t>(data.size()))});
  return out.append(data);
}

std::string server_reply(const export_info& of) {
  std::string data;
  append(data, wire::be32(static_cast<std::uint32_t>(of.name.size())));
  data += of.name;
  data += of.description;
  return option_reply(wire::nbd_option::list, wire::nbd_reply::server, data);
}

std::vector<std::string> info_replies(wire::nbd_option to, const export_info& of,
                                      const info_request& request, bool structured) {
  std::vector<std::string> out;
  const auto add = [&](std::string_view data) {
    out.push_back(option_reply(to, wire::nbd_reply::info, data));
  };
  std::string fixed;
  append(fixed, wire::nbd_info_export{
                    wire::be16(static_cast<std::uint16_t>(wire::nbd_info::export_data)),
                    wire::be64(of.size), wire::be16(transmission_flags(of, structured))});
  add(fixed);
  if (request.wants_name) add(info_text(wire::nbd_info::name, of.name));
  if (request.wants_description && !of.description.empty())
    add(info_text(wire::nbd_info::description, of.description));
  if (request.wants_block_size) {
    fixed.clear();
    append(fixed, wire::nbd_info_block_size{
                      wire::be16(static_cast<std::uint16_t>(wire::nbd_info::block_size)),
                      wire::be32(of.minimum_block), wire::be32(of.preferred_block),
                      wire::be32(of.maximum_block)});
    add(fixed);
  }
  return out;
}

std::string meta_context_reply(wire::nbd_option to, const selected_context& context) {
  std::string data;
  append(data, wire::be32(context.id));
  data += context.name;
  return option_reply(to, wire::nbd_reply::meta_context, data);
}

std::string error_reply(wire::nbd_option to, wire::nbd_reply type, std::string_view text) {
  return option_reply(to, type, clean(text, longest_offered_text));
}

std::string export_name_reply(const export_info& of, bool structured, bool no_zeroes) {
  std::string out;
  append(out, wire::nbd_export_name_reply{wire::be64(of.size),
                                          wire::be16(transmission_flags(of, structured))});
  if (!no_zeroes) out.append(wire::nbd_export_name_zeroes, '\0');
  return out;
}

}  // namespace xenpv::nbd
