#include "nbd/export_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/utf8.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::nbd {
namespace {

/// Bytes of an export on a device with `available` bytes after the export's first byte. An export
/// shrinks with its device.
std::uint64_t size_within(const export_options& options, std::uint64_t device_size) {
  const auto available = device_size > options.first ? device_size - options.first : 0;
  return options.size == 0 ? available : std::min(options.size, available);
}

[[noreturn]] void refuse(const export_options& options, std::string_view reason) {
  throw failure(make_error_code(errc::invalid_argument),
                fmt::format("offer export '{}'", printable(options.name, 200)), reason);
}

}  // namespace

void export_table::add(blk::block_device& device, export_options options) {
  entry added;
  added.device = &device;
  added.options = std::move(options);
  added.geometry = device.queue(0).shape();
  validate(describe(added, true)).value();
  const auto& checked = added.options;
  const auto device_size = added.geometry.size;
  if (std::ranges::any_of(entries_,
                          [&](const entry& other) { return other.options.name == checked.name; }))
    refuse(checked, "an export with this name already exists");
  if (checked.is_default && has_explicit_default_)
    refuse(checked, fmt::format("'{}' is already the default export", default_name()));
  if (checked.first > 0 && checked.first >= device_size)
    refuse(checked, fmt::format("it begins at byte {}, but the device has {} bytes", checked.first,
                                device_size));
  if (checked.size > device_size - checked.first)
    refuse(checked, fmt::format("it ends at byte {}, but the device has {} bytes",
                                checked.first + checked.size, device_size));
  const auto same_device = std::ranges::find(entries_, added.device, &entry::device);
  added.traffic = same_device != entries_.end() ? same_device->traffic
                                                : std::make_shared<device_traffic>(device);
  if (checked.is_default) {
    default_ = entries_.size();
    has_explicit_default_ = true;
  }
  entries_.push_back(std::move(added));
}

export_info export_table::describe(std::size_t index, bool multi_conn) const {
  return describe(entries_.at(index), multi_conn);
}

export_info export_table::describe(const entry& exported, bool multi_conn) {
  const auto& options = exported.options;
  const auto& geometry = exported.geometry;
  export_info out;
  out.name = options.name;
  out.description = options.description;
  out.size = size_within(options, geometry.size);
  out.first = options.first;
  out.preferred_block = std::max<std::uint32_t>(4096, geometry.physical_sector_size);
  out.read_only = options.read_only || geometry.read_only;
  out.can_flush = out.can_fua = geometry.can_flush;
  out.can_trim = geometry.can_discard;
  out.can_write_zeroes = true;
  // Offers fast-zero requests but fails them immediately, so that clients write the zeros
  // themselves.
  out.can_fast_zero = true;
  out.zeroes_are_fast = false;
  out.can_multi_conn = options.multi_conn && multi_conn;
  out.unavailable = exported.unavailable;
  return out;
}

std::vector<export_info> export_table::describe_all(bool multi_conn) const {
  std::vector<export_info> out;
  out.reserve(entries_.size());
  for (const auto& exported : entries_)
    out.push_back(describe(exported, multi_conn));
  return out;
}

bool export_table::withdraw(const blk::block_device& device, const std::string& reason) {
  bool has_changed = false;
  for (auto& exported : entries_) {
    if (exported.device != &device || !exported.unavailable.empty()) continue;
    exported.unavailable = reason.empty() ? "its device is lost" : reason;
    has_changed = true;
  }
  return has_changed;
}

void export_table::reshape(const blk::block_device& device,
                           const blk::geometry& geometry) noexcept {
  for (auto& exported : entries_)
    if (exported.device == &device) exported.geometry = geometry;
}

}  // namespace xenpv::nbd
