#include "blkback/backend_nodes.hpp"

#include <fmt/format.h>

#include "xenpv/base/types.hpp"
#include "xenpv/wire/blkif.hpp"
#include "xenpv/wire/xenbus.hpp"

namespace xenpv::blkback {
namespace {

template <class Number>
void add(node_list& to, const char* name, Number value) {
  to.push_back({name, fmt::format("{}", +value)});
}

void add_discard(node_list& to, const disk_config& disk) {
  if (!disk.habits().discard || !disk.discard) return;
  add(to, "feature-discard", 1);
  add(to, "discard-granularity", disk.discard_granularity);
  add(to, "discard-alignment", 0);
  if (disk.kind == backend_kind::linux_blkback) add(to, "discard-secure", disk.secure_discard);
}

/// Absent where the backend does not know the feature, 0 where it is off.
void add_ordering(node_list& to, const disk_config& disk) {
  if (disk.habits().barrier) add(to, "feature-barrier", disk.barrier);
  if (disk.habits().flush) add(to, "feature-flush-cache", disk.flush);
}

void add_properties(node_list& to, const disk_config& disk) {
  const auto info = (disk.cdrom ? wire::vdisk_cdrom : 0) |
                    (disk.removable ? wire::vdisk_removable : 0) |
                    (disk.read_only ? wire::vdisk_readonly : 0);
  add(to, "sectors", disk.sectors());
  add(to, "info", info);
  add(to, "sector-size", disk.sector_size);
  if (disk.habits().physical_sector_size)
    add(to, "physical-sector-size", disk.physical_sector_size);
}

}  // namespace

node_list nodes_before_init_wait(const disk_config& disk) {
  node_list out;
  const auto& habits = disk.habits();
  if (habits.max_indirect_segments != 0 && disk.max_indirect_segments != 0)
    add(out, "feature-max-indirect-segments", disk.max_indirect_segments);
  if (habits.multi_queue) add(out, "multi-queue-max-queues", disk.max_queues);
  add(out, "max-ring-page-order", disk.max_ring_page_order);
  if (disk.kind == backend_kind::freebsd) add_ordering(out, disk);
  if (habits.properties_before_init_wait) {
    add_ordering(out, disk);
    add_discard(out, disk);
    add_properties(out, disk);
  }
  return out;
}

node_list nodes_on_connected(const disk_config& disk) {
  node_list out;
  const auto& habits = disk.habits();
  if (habits.properties_before_init_wait) return out;
  if (disk.kind != backend_kind::freebsd) add_ordering(out, disk);
  add_discard(out, disk);
  if (habits.persistent) add(out, "feature-persistent", disk.persistent);
  add_properties(out, disk);
  return out;
}

node_list nodes_on_resize(const disk_config& disk) {
  node_list out;
  add(out, "sectors", disk.sectors());
  if (disk.habits().resize == resize_signal::sectors_by_toolstack)
    add(out, "resize-device", 1);
  else
    add(out, "state", raw(wire::xenbus_state::connected));
  return out;
}

const std::vector<std::string_view>& published_names() {
  static const std::vector<std::string_view> names = {"feature-max-indirect-segments",
                                                      "multi-queue-max-queues",
                                                      "max-ring-page-order",
                                                      "feature-barrier",
                                                      "feature-flush-cache",
                                                      "feature-discard",
                                                      "discard-granularity",
                                                      "discard-alignment",
                                                      "discard-secure",
                                                      "feature-persistent",
                                                      "sectors",
                                                      "info",
                                                      "sector-size",
                                                      "physical-sector-size"};
  return names;
}

}  // namespace xenpv::blkback
