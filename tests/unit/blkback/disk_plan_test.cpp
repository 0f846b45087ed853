#include "blkback/disk_plan.hpp"

#include <gtest/gtest.h>

namespace xenpv::blkback {
namespace {

nodes memory_disk() {
  return {{"mode", "w"}, {"xenpv/store", "memory"}, {"xenpv/size", "1048576"}};
}

std::string error_of(const nodes& directory) {
  const auto plan = parse_disk_plan(directory, "vbd", 2);
  return plan ? "" : plan.error().text;
}

TEST(disk_plan, of_libxl_nodes_alone_is_a_file) {
  const auto plan =
      parse_disk_plan(
          {{"params", "/dev/vg/x"}, {"mode", "r"}, {"device-type", "cdrom"}, {"removable", "1"}},
          "vbd", 2)
          .value();
  EXPECT_EQ(plan.store, disk_store::file);
  EXPECT_EQ(plan.path, "/dev/vg/x");
  EXPECT_TRUE(plan.config.read_only);
  EXPECT_TRUE(plan.config.cdrom);
  EXPECT_TRUE(plan.config.removable);
  EXPECT_EQ(plan.config.kind, backend_kind::linux_blkback);
  EXPECT_EQ(plan.config.max_queues, 2u);
  EXPECT_EQ(plan.config.size, 0u);
  EXPECT_FALSE(plan.config.secure_discard);
  EXPECT_EQ(parse_disk_plan({}, "qdisk", 2).value().config.kind, backend_kind::qemu);
}

TEST(disk_plan, reads_every_option) {
  auto all = memory_disk();
  all["xenpv/backend"] = "linux";
  all["xenpv/sector-size"] = "4096";
  all["xenpv/max-queues"] = "8";
  all["xenpv/max-ring-page-order"] = "1";
  all["xenpv/max-indirect-segments"] = "32";
  all["xenpv/persistent"] = all["xenpv/flush"] = all["xenpv/barrier"] = all["xenpv/discard"] = "0";
  all["xenpv/volatile-cache"] = "1";
  all["xenpv/medium"] = "guest-1/xvdb";
  all["xenpv/fault"] = "error=3 reorder";
  const auto plan = parse_disk_plan(all, "vbd", 2).value();
  EXPECT_EQ(plan.store, disk_store::memory);
  EXPECT_EQ(plan.medium, "guest-1/xvdb");
  EXPECT_TRUE(plan.volatile_cache);
  EXPECT_EQ(plan.faults.error_every, 3u);
  EXPECT_TRUE(plan.faults.reorder);
  const auto& disk = plan.config;
  EXPECT_EQ(disk.size, 1048576u);
  EXPECT_EQ(disk.sector_size, 4096u);
  EXPECT_EQ(disk.physical_sector_size, 4096u);
  EXPECT_EQ(disk.max_queues, 8u);
  EXPECT_EQ(disk.max_ring_page_order, 1u);
  EXPECT_EQ(disk.max_indirect_segments, 32u);
  EXPECT_FALSE(disk.persistent || disk.flush || disk.barrier || disk.discard ||
               disk.secure_discard);
}

TEST(disk_plan, cannot_enable_features_that_the_backend_kind_lacks) {
  auto all = memory_disk();
  all["xenpv/backend"] = "tapdisk";
  all["xenpv/flush"] = all["xenpv/persistent"] = "1";
  const auto disk = parse_disk_plan(all, "vbd", 2).value().config;
  EXPECT_FALSE(disk.flush);
  EXPECT_FALSE(disk.persistent);
  EXPECT_TRUE(disk.barrier);
}

TEST(disk_plan, names_the_invalid_node) {
  const auto with = [](const std::string& name, const std::string& value) {
    auto all = memory_disk();
    all[name] = value;
    return error_of(all);
  };
  EXPECT_EQ(with("xenpv/backend", "bhyve"),
            "node xenpv/backend 'bhyve': invalid argument (expected " +
                wire::join_names(wire::backend_kinds) + ")");
  EXPECT_EQ(with("xenpv/store", "tape"),
            "node xenpv/store 'tape': invalid argument (expected memory, file or null)");
  EXPECT_EQ(with("xenpv/sector-size", "1024"),
            "node xenpv/sector-size '1024': invalid argument (expected 512 or 4096)");
  EXPECT_EQ(with("xenpv/size", "1000"),
            "node xenpv/size '1000': invalid argument (expected a multiple of 512)");
  EXPECT_EQ(with("xenpv/max-queues", "65"),
            "node xenpv/max-queues '65': invalid argument (a linux backend has at most 64)");
  EXPECT_EQ(with("xenpv/max-ring-page-order", "5"),
            "node xenpv/max-ring-page-order '5': invalid argument (a linux backend has at most 4)");
  EXPECT_NE(with("xenpv/flush", "2").find("node xenpv/flush"), std::string::npos);
  EXPECT_NE(with("xenpv/fault", "gremlins").find("disk fault 'gremlins'"), std::string::npos);
  auto all = memory_disk();
  all["xenpv/backend"] = "freebsd";
  all["xenpv/max-indirect-segments"] = "8";
  EXPECT_EQ(error_of(all),
            "node xenpv/max-indirect-segments '8': invalid argument (a freebsd backend has at most "
            "0)");
  all = {{"xenpv/volatile-cache", "1"}};
  EXPECT_EQ(
      error_of(all),
      "node xenpv/volatile-cache '1': invalid argument (only a memory disk can have a volatile "
      "cache)");
}

TEST(disk_command, is_restart_or_power_cut) {
  EXPECT_EQ(parse_disk_command("restart").value(), disk_command{});
  EXPECT_EQ(parse_disk_command("power-cut 42").value(),
            (disk_command{disk_command::verb::power_cut, 42}));
  EXPECT_EQ(parse_disk_command("explode").error().text,
            "node xenpv/command 'explode': invalid argument (expected restart or power-cut SEED)");
  EXPECT_FALSE(parse_disk_command("power-cut x"));
}

}  // namespace
}  // namespace xenpv::blkback
