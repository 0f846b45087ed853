#include "blkfront/identity.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

#include "xenpv/base/parse.hpp"

namespace xenpv::blkfront {
namespace {

std::string value_or_nothing(const node_map& nodes, std::string_view name) {
  const auto found = nodes.find(name);
  return found == nodes.end() ? std::string() : found->second;
}

error refuse(std::string_view what) {
  return make_error(errc::wrong_disk, what,
                    "nothing was written to it; what waits for the disk has failed. Attach the "
                    "right one, or open this one anew");
}

constexpr std::string_view first_word = "disk-1";

bool is_plain(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' ||
         c == '/' || c == '.' || c == ':' || c == '_';
}

/// Without blanks or anything else that could end a word: as in a URI.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text)
    if (is_plain(c))
      out += c;
    else
      out += fmt::format("%{:02x}", static_cast<unsigned char>(c));
  return out;
}

/// The opposite; what is no escape stays as it is.
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

/// The value of "name=value" among words with blanks between; still escaped.
std::optional<std::string_view> find_word(std::string_view words, std::string_view name) {
  while (!words.empty()) {
    const auto end = std::min(words.find(' '), words.size());
    const auto word = words.substr(0, end);
    if (word.starts_with(name) && word.substr(name.size()).starts_with('='))
      return word.substr(name.size() + 1);
    words.remove_prefix(std::min(end + 1, words.size()));
  }
  return std::nullopt;
}

/// Both name it, and not the same.
bool differ(const std::string& before, const std::string& now) {
  return !before.empty() && !now.empty() && before != now;
}

}  // namespace

std::string to_text(const remembered_disk& remembered) {
  const auto& [shape, identity] = remembered.disk;
  return fmt::format(
      "{} domain={} size={} sector-size={} read-only={:d} flush={:d} cdrom={:d} vdi={} page83={} "
      "params={}",
      first_word, remembered.domain, shape.size, shape.sector_size, shape.read_only,
      shape.can_flush, shape.cdrom, escaped(identity.vdi), escaped(identity.page83),
      escaped(identity.params));
}

result<remembered_disk> parse_remembered(std::string_view text) {
  const auto refused = [&] {
    return make_error(errc::invalid_argument, fmt::format("disk identity '{}'", text),
                      "this version of the program has not written it");
  };
  if (!text.starts_with(first_word)) return refused();
  const auto number = [&](std::string_view name,
                          std::uint64_t high) -> std::optional<std::uint64_t> {
    const auto word = find_word(text, name);
    if (!word) return std::nullopt;
    const auto value = parse_unsigned(*word, name, 0, high);
    return value ? std::optional(*value) : std::nullopt;
  };
  const auto domain = number("domain", 0xFFFF);
  const auto size = number("size", ~std::uint64_t{0});
  const auto sector_size = number("sector-size", 0xFFFFFFFF);
  const auto read_only = number("read-only", 1);
  const auto flush = number("flush", 1);
  const auto cdrom = number("cdrom", 1);
  const auto vdi = find_word(text, "vdi");
  const auto page83 = find_word(text, "page83");
  const auto params = find_word(text, "params");
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
  return {.vdi = value_or_nothing(nodes, "sm-data/vdi-uuid"),
          .page83 = value_or_nothing(nodes, "sm-data/scsi/0x12/0x83"),
          .params = value_or_nothing(nodes, "params")};
}

namespace {

/// Both name it, and the same.
bool agree(const std::string& before, const std::string& now) {
  return !before.empty() && before == now;
}

result<void> check_names(const disk_identity& was, const disk_identity& is) {
  if (differ(was.vdi, is.vdi))
    return refuse(fmt::format("the disk came back as VDI {} in place of {}", is.vdi, was.vdi));
  if (differ(was.page83, is.page83)) return refuse("the disk came back with another SCSI identity");
  if (differ(was.params, is.params))
    return refuse(
        fmt::format("the disk came back made from '{}' in place of '{}'", is.params, was.params));
  return {};
}

/// A name that the disk keeps when it is resized, and the host when the guest moves.
bool is_known_by_name(const disk_identity& was, const disk_identity& is, bool may_have_moved) {
  return agree(was.vdi, is.vdi) || agree(was.page83, is.page83) ||
         (!may_have_moved && agree(was.params, is.params));
}

}  // namespace

result<void> check_same_disk(const known_disk& before, const known_disk& now, bool may_have_moved) {
  if (now.shape.sector_size != before.shape.sector_size)
    return refuse(fmt::format("the disk came back with sectors of {} bytes in place of {}",
                              now.shape.sector_size, before.shape.sector_size));
  // Another medium is what such a drive is for.
  if (before.shape.cdrom && now.shape.cdrom) return {};
  const bool is_larger_same = now.shape.size > before.shape.size &&
                              is_known_by_name(before.identity, now.identity, may_have_moved);
  if (now.shape.size != before.shape.size && !is_larger_same)
    return refuse(fmt::format("the disk came back with {} ({} bytes) in place of {} ({} bytes)",
                              format_size(now.shape.size), now.shape.size,
                              format_size(before.shape.size), before.shape.size));
  if (now.shape.read_only && !before.shape.read_only) return refuse("the disk came back read-only");
  // Storage that migrates with the guest gets another name there.
  if (may_have_moved) return {};
  return check_names(before.identity, now.identity);
}

}  // namespace xenpv::blkfront
