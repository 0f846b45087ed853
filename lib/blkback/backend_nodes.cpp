#include "blkback/backend_nodes.hpp"

#include <fmt/format.h>

#include "xenpv/base/types.hpp"
#include "xenpv/wire/blkif.hpp"
#include "xenpv/wire/xenbus.hpp"

namespace xenpv::blkback {
namespace {

template <class Number>
void add(node_list& list, const char* name, Number value) {
  list.push_back({name, fmt::format("{}", +value)});
}

void add_discard(node_list& list, const disk_config& disk) {
  if (!disk.personality().discard || !disk.discard) return;
  add(list, "feature-discard", 1);
  add(list, "discard-granularity", disk.discard_granularity);
  add(list, "discard-alignment", 0);
  if (disk.personality().discard_secure) add(list, "discard-secure", disk.secure_discard);
}

/// A node is absent if the backend lacks the feature, and 0 if the feature is disabled.
void add_ordering(node_list& list, const disk_config& disk) {
  if (disk.personality().barrier) add(list, "feature-barrier", disk.barrier);
  if (disk.personality().flush) add(list, "feature-flush-cache", disk.flush);
}

void add_properties(node_list& list, const disk_config& disk) {
  const auto info = (disk.cdrom ? wire::vdisk_cdrom : 0) |
                    (disk.removable ? wire::vdisk_removable : 0) |
                    (disk.read_only ? wire::vdisk_readonly : 0);
  add(list, "sectors", disk.sectors());
  add(list, "info", info);
  add(list, "sector-size", disk.sector_size);
  if (disk.personality().physical_sector_size)
    add(list, "physical-sector-size", disk.physical_sector_size);
}

}  // namespace

node_list nodes_before_init_wait(const disk_config& disk) {
  node_list out;
  const auto& personality = disk.personality();
  if (personality.max_indirect_segments != 0 && disk.max_indirect_segments != 0)
    add(out, "feature-max-indirect-segments", disk.max_indirect_segments);
  if (personality.multi_queue) add(out, "multi-queue-max-queues", disk.max_queues);
  add(out, "max-ring-page-order", disk.max_ring_page_order);
  if (personality.ordering_before_init_wait) add_ordering(out, disk);
  if (personality.properties_before_init_wait) {
    add_discard(out, disk);
    add_properties(out, disk);
  }
  return out;
}

node_list nodes_on_connected(const disk_config& disk) {
  node_list out;
  const auto& personality = disk.personality();
  if (personality.properties_before_init_wait) return out;
  if (!personality.ordering_before_init_wait) add_ordering(out, disk);
  add_discard(out, disk);
  if (personality.persistent) add(out, "feature-persistent", disk.persistent);
  add_properties(out, disk);
  return out;
}

node_list nodes_on_resize(const disk_config& disk) {
  node_list out;
  add(out, "sectors", disk.sectors());
  if (disk.personality().resize == resize_signal::sectors_by_toolstack)
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
