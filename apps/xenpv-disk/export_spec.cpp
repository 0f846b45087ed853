#include "export_spec.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/parse.hpp"

namespace xenpv::disk_app {
namespace {

constexpr std::string_view expected =
    "expected DISK, followed by any of ,name=EXPORT ,read-only ,offset=SIZE ,size=SIZE "
    ",partition=N ,default";

error refusal(std::string_view text, std::string_view why) {
  return error{make_error_code(errc::invalid_argument), fmt::format("export '{}': {}", text, why)};
}

template <class T>
result<void> set_once(std::optional<T>& target, result<std::uint64_t> value, std::string_view text,
                      std::string_view key) {
  if (!value) return value.error();
  if (target) return refusal(text, fmt::format("{} is given twice", key));
  target = static_cast<T>(*value);
  return {};
}

result<void> set_option(export_spec& out, std::string_view text, std::string_view field) {
  const auto equals = field.find('=');
  const auto key = field.substr(0, equals);
  const auto value =
      equals == std::string_view::npos ? std::string_view() : field.substr(equals + 1);
  if (field == "read-only") {
    out.read_only = true;
  } else if (field == "default") {
    out.is_default = true;
  } else if (field.starts_with("name=")) {
    if (!out.name.empty()) return refusal(text, "name is given twice");
    if (value.empty()) return refusal(text, "the name is empty");
    out.name = value;
  } else if (field.starts_with("offset=")) {
    return set_once(out.part.offset, parse_size(value, "offset"), text, key);
  } else if (field.starts_with("size=")) {
    return set_once(out.part.size, parse_size(value, "size"), text, key);
  } else if (field.starts_with("partition=")) {
    return set_once(out.part.partition, parse_unsigned(value, "partition", 1, 65535), text, key);
  } else {
    return refusal(text, expected);
  }
  return {};
}

}  // namespace

result<export_spec> parse_export(std::string_view text, std::string_view) {
  const auto fields = split(text, ',');
  export_spec out;
  out.disk = fields.front();
  if (out.disk.empty()) return refusal(text, expected);
  for (auto field = fields.begin() + 1; field != fields.end(); ++field)
    if (const auto done = set_option(out, text, *field); !done) return done.error();
  if (const auto good = check_part(out.part, out.disk); !good) return good.error();
  return out;
}

result<void> check_part(const export_part& part, std::string_view disk) {
  if (part.partition && (part.offset || part.size))
    return refusal(disk, "a partition has its own offset and size; omit these");
  if (part.size && *part.size == 0)
    return refusal(disk, "the size is 0; omit it to export up to the end of the disk");
  return {};
}

result<void> apply_common_options(std::vector<export_spec>& exports, const std::string& name,
                                  const export_part& part, bool read_only) {
  const bool has_single_options = !name.empty() || !part.is_whole_disk();
  if (has_single_options && exports.size() > 1)
    return error{make_error_code(errc::invalid_argument),
                 "--name, --offset, --size and --partition with several exports: set them for each "
                 "export instead, such as xvdb,partition=1"};
  auto& first = exports.front();
  if (!name.empty() && !std::exchange(first.name, name).empty())
    return refusal(first.disk, "its name is given twice");
  if (!part.is_whole_disk()) {
    if (!first.part.is_whole_disk()) return refusal(first.disk, "its part is given twice");
    if (const auto good = check_part(part, first.disk); !good) return good.error();
    first.part = part;
  }
  for (auto& entry : exports)
    entry.read_only = entry.read_only || read_only;
  if (std::ranges::count(exports, true, &export_spec::is_default) > 1)
    return error{make_error_code(errc::invalid_argument),
                 "several exports are marked as the default; mark one"};
  return {};
}

std::string default_export_name(std::string_view disk, const export_part& part) {
  if (!part.partition) return std::string(disk);
  const bool ends_in_digit = !disk.empty() && disk.back() >= '0' && disk.back() <= '9';
  return fmt::format("{}{}{}", disk, ends_in_digit ? "p" : "", *part.partition);
}

}  // namespace xenpv::disk_app
