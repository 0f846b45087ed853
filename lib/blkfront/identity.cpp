#include "blkfront/identity.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/parse.hpp"

namespace xenpv::blkfront {
namespace {

error refuse(std::string_view difference) {
  return make_error(errc::wrong_disk, difference,
                    "nothing was written to it; queued requests have failed. Attach the "
                    "right disk, or reopen this one");
}

constexpr std::string_view format_tag = "disk-1";

bool is_plain(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' ||
         c == '/' || c == '.' || c == ':' || c == '_';
}

/// Escapes spaces and other special characters, as in a URI.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text)
    if (is_plain(c))
      out += c;
    else
      out += fmt::format("%{:02x}", static_cast<unsigned char>(c));
  return out;
}

/// The inverse of escaped(). Invalid escapes are kept.
std::string unescaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    const auto* const digits = text.data() + i + 1;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(digits, digits + 2, value, 16).ptr == digits + 2) {
      out += static_cast<char>(value);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

/// Returns the escaped value of the field "name=value" in a space-separated list.
std::optional<std::string_view> find_field(std::string_view text, std::string_view name) {
  while (!text.empty()) {
    const auto end = std::min(text.find(' '), text.size());
    const auto field = text.substr(0, end);
    if (field.starts_with(name) && field.substr(name.size()).starts_with('='))
      return field.substr(name.size() + 1);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return std::nullopt;
}

/// Whether both names are known and differ.
bool differ(const std::string& before, const std::string& now) {
  return !before.empty() && !now.empty() && before != now;
}

}  // namespace

std::string to_text(const remembered_disk& remembered) {
  const auto& [shape, identity] = remembered.disk;
  return fmt::format(
      "{} domain={} size={} sector-size={} read-only={:d} flush={:d} cdrom={:d} vdi={} page83={} "
      "params={}",
      format_tag, remembered.domain, shape.size, shape.sector_size, shape.read_only,
      shape.can_flush, shape.cdrom, escaped(identity.vdi), escaped(identity.page83),
      escaped(identity.params));
}

result<remembered_disk> parse_remembered(std::string_view text) {
  const auto refused = [&] {
    return make_error(errc::invalid_argument, fmt::format("disk identity '{}'", text),
                      "not written by this version of the program");
  };
  if (!text.starts_with(format_tag)) return refused();
  const auto number = [&](std::string_view name,
                          std::uint64_t high) -> std::optional<std::uint64_t> {
    const auto field = find_field(text, name);
    if (!field) return std::nullopt;
    const auto value = parse_unsigned(*field, name, 0, high);
    return value ? std::optional(*value) : std::nullopt;
  };
  const auto domain = number("domain", 0xFFFF);
  const auto size = number("size", ~std::uint64_t{0});
  const auto sector_size = number("sector-size", 0xFFFFFFFF);
  const auto read_only = number("read-only", 1);
  const auto flush = number("flush", 1);
  const auto cdrom = number("cdrom", 1);
  const auto vdi = find_field(text, "vdi");
  const auto page83 = find_field(text, "page83");
  const auto params = find_field(text, "params");
  if (!domain || !size || !sector_size || !read_only || !flush || !cdrom || !vdi || !page83 ||
      !params)
    return refused();
  remembered_disk out;
  out.domain = static_cast<unsigned>(*domain);
  out.disk.shape.size = *size;
  out.disk.shape.sector_size = static_cast<std::uint32_t>(*sector_size);
  out.disk.shape.read_only = *read_only == 1;
  out.disk.shape.can_flush = *flush == 1;
  out.disk.shape.cdrom = *cdrom == 1;
  out.disk.identity = {unescaped(*vdi), unescaped(*page83), unescaped(*params)};
  return out;
}

disk_identity parse_identity(const node_map& nodes) {
  return {.vdi = value_or(nodes, "sm-data/vdi-uuid"),
          .page83 = value_or(nodes, "sm-data/scsi/0x12/0x83"),
          .params = value_or(nodes, "params")};
}

namespace {

/// Whether both names are known and equal.
bool agree(const std::string& before, const std::string& now) {
  return !before.empty() && before == now;
}

result<void> check_names(const disk_identity& before, const disk_identity& now) {
  if (differ(before.vdi, now.vdi))
    return refuse(fmt::format("the VDI is {}, previously {}", now.vdi, before.vdi));
  if (differ(before.page83, now.page83)) return refuse("the SCSI identity has changed");
  if (differ(before.params, now.params))
    return refuse(fmt::format("the source is '{}', previously '{}'", now.params, before.params));
  return {};
}

/// Whether a name that a resize does not change is equal. `params` may change when the guest moves
/// to another host.
bool has_same_name(const disk_identity& before, const disk_identity& now, bool may_have_moved) {
  return agree(before.vdi, now.vdi) || agree(before.page83, now.page83) ||
         (!may_have_moved && agree(before.params, now.params));
}

}  // namespace

result<void> check_same_disk(const known_disk& before, const known_disk& now, bool may_have_moved) {
  if (now.shape.sector_size != before.shape.sector_size)
    return refuse(fmt::format("the sector size is {} bytes, previously {}", now.shape.sector_size,
                              before.shape.sector_size));
  // The medium of a CD-ROM drive may change.
  if (before.shape.cdrom && now.shape.cdrom) return {};
  const bool is_larger_same = now.shape.size > before.shape.size &&
                              has_same_name(before.identity, now.identity, may_have_moved);
  if (now.shape.size != before.shape.size && !is_larger_same)
    return refuse(fmt::format("the size is {} ({} bytes), previously {} ({} bytes)",
                              format_size(now.shape.size), now.shape.size,
                              format_size(before.shape.size), before.shape.size));
  if (now.shape.read_only && !before.shape.read_only) return refuse("the disk is now read-only");
  // Storage that migrates with the guest may have different names on the new host.
  if (may_have_moved) return {};
  return check_names(before.identity, now.identity);
}

}  // namespace xenpv::blkfront
