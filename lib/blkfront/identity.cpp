#include "blkfront/identity.hpp"

#include <fmt/format.h>

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

/// Both name it, and not the same.
bool differ(const std::string& before, const std::string& now) {
  return !before.empty() && !now.empty() && before != now;
}

}  // namespace

disk_identity parse_identity(const node_map& nodes) {
  return {.vdi = value_or_nothing(nodes, "sm-data/vdi-uuid"),
          .page83 = value_or_nothing(nodes, "sm-data/scsi/0x12/0x83"),
          .params = value_or_nothing(nodes, "params")};
}

result<void> check_same_disk(const known_disk& before, const known_disk& now, bool may_have_moved) {
  if (now.shape.sector_size != before.shape.sector_size)
    return refuse(fmt::format("the disk came back with sectors of {} bytes in place of {}",
                              now.shape.sector_size, before.shape.sector_size));
  // Another medium is what such a drive is for.
  if (before.shape.cdrom && now.shape.cdrom) return {};
  if (now.shape.size != before.shape.size)
    return refuse(fmt::format("the disk came back with {} ({} bytes) in place of {} ({} bytes)",
                              format_size(now.shape.size), now.shape.size,
                              format_size(before.shape.size), before.shape.size));
  if (now.shape.read_only && !before.shape.read_only) return refuse("the disk came back read-only");
  const auto& was = before.identity;
  const auto& is = now.identity;
  if (differ(was.vdi, is.vdi))
    return refuse(fmt::format("the disk came back as VDI {} in place of {}", is.vdi, was.vdi));
  if (differ(was.page83, is.page83)) return refuse("the disk came back with another SCSI identity");
  if (!may_have_moved && differ(was.params, is.params))
    return refuse(
        fmt::format("the disk came back made from '{}' in place of '{}'", is.params, was.params));
  return {};
}

}  // namespace xenpv::blkfront
