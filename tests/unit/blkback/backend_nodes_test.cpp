#include "blkback/backend_nodes.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace xenpv::blkback {
namespace {

disk_config config_of(backend_kind kind) {
  return usual_config(personality_of(kind), 1 << 20, 4);
}

TEST(backend_nodes, of_linux_are_split_between_init_wait_and_connected) {
  auto disk = config_of(backend_kind::linux_blkback);
  disk.read_only = true;
  disk.cdrom = true;
  disk.flush = false;
  EXPECT_EQ(nodes_before_init_wait(disk), (node_list{{"feature-max-indirect-segments", "256"},
                                                     {"multi-queue-max-queues", "4"},
                                                     {"max-ring-page-order", "4"}}));
  EXPECT_EQ(nodes_on_connected(disk), (node_list{{"feature-barrier", "1"},
                                                 {"feature-flush-cache", "0"},
                                                 {"feature-discard", "1"},
                                                 {"discard-granularity", "4096"},
                                                 {"discard-alignment", "0"},
                                                 {"discard-secure", "0"},
                                                 {"feature-persistent", "1"},
                                                 {"sectors", "2048"},
                                                 {"info", "5"},
                                                 {"sector-size", "512"},
                                                 {"physical-sector-size", "512"}}));
}

TEST(backend_nodes, leave_out_disabled_features) {
  auto disk = config_of(backend_kind::linux_blkback);
  disk.discard = false;
  disk.max_indirect_segments = 0;
  disk.persistent = false;
  EXPECT_EQ(nodes_before_init_wait(disk).front().name, "multi-queue-max-queues");
  const auto nodes = nodes_on_connected(disk);
  EXPECT_EQ(std::count(nodes.begin(), nodes.end(), node{"feature-persistent", "0"}), 1);
  EXPECT_EQ(nodes.size(), 7u);
}

TEST(backend_nodes, of_qemu_are_all_published_before_init_wait) {
  EXPECT_EQ(nodes_before_init_wait(config_of(backend_kind::qemu)),
            (node_list{{"max-ring-page-order", "4"},
                       {"feature-flush-cache", "1"},
                       {"feature-discard", "1"},
                       {"discard-granularity", "4096"},
                       {"discard-alignment", "0"},
                       {"sectors", "2048"},
                       {"info", "0"},
                       {"sector-size", "512"}}));
  EXPECT_TRUE(nodes_on_connected(config_of(backend_kind::qemu)).empty());
}

TEST(backend_nodes, count_sectors_in_the_unit_of_the_kind) {
  const auto sectors_of = [](backend_kind kind) {
    auto disk = config_of(kind);
    disk.sector_size = 4096;
    return nodes_on_resize(disk).front().value;
  };
  EXPECT_EQ(sectors_of(backend_kind::linux_blkback), "2048");
  EXPECT_EQ(sectors_of(backend_kind::tapdisk), "2048");
  EXPECT_EQ(sectors_of(backend_kind::qemu), "256");
  EXPECT_EQ(sectors_of(backend_kind::freebsd), "256");
}

TEST(backend_nodes, announce_a_new_size_as_the_kind_does) {
  EXPECT_EQ(nodes_on_resize(config_of(backend_kind::linux_blkback)),
            (node_list{{"sectors", "2048"}, {"state", "4"}}));
  EXPECT_EQ(nodes_on_resize(config_of(backend_kind::qemu)),
            (node_list{{"sectors", "2048"}, {"state", "4"}}));
  EXPECT_EQ(nodes_on_resize(config_of(backend_kind::tapdisk)),
            (node_list{{"sectors", "2048"}, {"resize-device", "1"}}));
}

TEST(backend_nodes, removed_by_a_restart_include_all_published_nodes) {
  const auto& known = published_names();
  for (const auto& [kind, name] : wire::backend_kinds) {
    auto all = nodes_before_init_wait(config_of(kind));
    const auto more = nodes_on_connected(config_of(kind));
    all.insert(all.end(), more.begin(), more.end());
    for (const auto& entry : all)
      EXPECT_EQ(std::count(known.begin(), known.end(), entry.name), 1) << name << ' ' << entry.name;
  }
}

}  // namespace
}  // namespace xenpv::blkback
