// The doctor's disk checks on modified captures.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "unit/doctor/checks_rig.hpp"
#include "unit/xen/fake_root.hpp"

namespace xenpv::doctor {
namespace {

using test::has_row;
using test::row;
using test::snapshot_of;
using test::value_of;
using testing::HasSubstr;

disk_facts healthy_disk() {
  return {.name = "xvdb",
          .path = "device/vbd/51728",
          .backend = "/local/domain/0/backend/vbd/1/51728",
          .kernel_drives = true,
          .front = {{"state", "4"}, {"feature-persistent", "1"}, {"multi-queue-num-queues", "2"}},
          .back = {{"feature-persistent", "1"},
                   {"multi-queue-max-queues", "2"},
                   {"max-ring-page-order", "4"},
                   {"feature-max-indirect-segments", "256"},
                   {"feature-flush-cache", "1"}},
          .max_segments = 32,
          .hardware_queues = 2,
          .write_cache = "write back"};
}

guest_snapshot with_disk(const disk_facts& disk) {
  auto snapshot = snapshot_of("pv");
  snapshot.disks = {disk};
  return snapshot;
}

TEST(disk_check, passes_negotiated_features_and_suggests_possible_ones) {
  const auto result = row(with_disk(healthy_disk()), "disk-xvdb");
  EXPECT_EQ(result.verdict, health::pass);
  EXPECT_EQ(
      result.summary,
      "xvdb: persistent grants, 2 of 2 queues, ring order 0 of 4, 32 segments per request, flush");
  EXPECT_EQ(result.remedy,
            "possible improvements: rings of 16 pages for deep queues "
            "(xen_blkfront.max_ring_page_order=4), "
            "256 segments per request (xen_blkfront.max_indirect_segments=256)");
}

TEST(disk_check, warns_of_a_feature_that_both_ends_have_and_that_is_off) {
  auto disk = healthy_disk();
  disk.front["feature-persistent"] = "0";
  EXPECT_THAT(row(with_disk(disk), "disk-xvdb").summary, HasSubstr("persistent grants are off"));
  disk = healthy_disk();
  disk.front.erase("multi-queue-num-queues");
  EXPECT_THAT(row(with_disk(disk), "disk-xvdb").summary,
              HasSubstr("fewer queues than the 2 that both ends support"));
  disk = healthy_disk();
  disk.max_segments = 11;
  EXPECT_THAT(row(with_disk(disk), "disk-xvdb").summary, HasSubstr("indirect requests are off"));
  disk = healthy_disk();
  disk.write_cache = "write through";
  EXPECT_EQ(row(with_disk(disk), "disk-xvdb").verdict, health::warn);
  auto snapshot = with_disk(healthy_disk());
  snapshot.blkfront.max_ring_page_order = 4;
  EXPECT_THAT(row(snapshot, "disk-xvdb").summary, HasSubstr("the ring order is below 4"));
}

TEST(disk_check, does_not_expect_more_of_a_basic_backend) {
  auto disk = healthy_disk();
  disk.back = {{"feature-flush-cache", "0"}};
  disk.front = {{"state", "4"}, {"feature-persistent", "1"}};
  disk.max_segments = 11;
  disk.write_cache = "write through";
  const auto result = row(with_disk(disk), "disk-xvdb");
  EXPECT_EQ(result.verdict, health::pass);
  EXPECT_THAT(result.summary, HasSubstr("no flush: the backend reports no write cache"));
}

TEST(disk_check, warns_of_a_backend_that_offers_no_way_to_make_writes_durable) {
  auto disk = healthy_disk();
  disk.back.erase("feature-flush-cache");
  disk.write_cache = "write through";
  const auto result = row(with_disk(disk), "flush-xvdb");
  EXPECT_EQ(result.verdict, health::warn);
  EXPECT_THAT(result.summary, HasSubstr("xvdb: the backend offers neither flush nor barrier"));
  EXPECT_EQ(value_of(result, "/local/domain/0/backend/vbd/1/51728/feature-barrier"), "absent");
  // The same applies to a disk that is driven by a process.
  disk.kernel_drives = false;
  disk.write_cache = "";
  EXPECT_EQ(row(with_disk(disk), "flush-xvdb").verdict, health::warn);
}

TEST(disk_check, does_not_warn_of_a_missing_flush_if_none_is_needed_or_nothing_is_known) {
  const auto warns = [](const disk_facts& disk) { return has_row(with_disk(disk), "flush-xvdb"); };
  auto disk = healthy_disk();
  EXPECT_FALSE(warns(disk));
  disk.back["feature-flush-cache"] = "0";
  EXPECT_FALSE(warns(disk)) << "the backend reports that it has no write cache";
  disk.back.erase("feature-flush-cache");
  EXPECT_TRUE(warns(disk));
  disk.back["mode"] = "r";
  EXPECT_FALSE(warns(disk));
  disk.back["mode"] = "w";
  disk.front["state"] = "1";
  EXPECT_FALSE(warns(disk)) << "most backends publish the key when they connect";
  disk.front["state"] = "4";
  disk.back.clear();
  EXPECT_FALSE(warns(disk));
}

TEST(disk_facts, use_the_guests_names) {
  xen::test::fake_root tree;
  tree.with("/sys/bus/xen/devices/vbd-2048/block/xvde/dev", "202:64\n")
      .with("/sys/bus/xen/devices/vbd-2048/driver/module")
      .with("/sys/block/xvde/queue/max_segments", "32\n")
      .with("/sys/block/xvda/queue/max_segments", "11\n");
  const channels::store_nodes nodes = {{"device/vbd/768/state", "4"},
                                       {"device/vbd/2048/state", "4"},
                                       {"device/vbd/51728/state", "4"},
                                       {"device/vbd/832/state", "4"}};
  std::vector<std::string> names;
  const auto disks = make_disk_facts(tree.root(), nodes);
  for (const auto& entry : disks)
    names.push_back(entry.name);
  EXPECT_THAT(names, testing::ElementsAre("xvda", "hdb", "xvde", "xvdb"));
  EXPECT_EQ(disks[0].max_segments, std::nullopt) << "the device may belong to another disk";
  EXPECT_EQ(disks[2].max_segments, 32U);
}

TEST(disk_check, fails_a_disk_of_the_kernel_that_is_not_connected) {
  auto disk = healthy_disk();
  disk.front["state"] = "1";
  EXPECT_EQ(row(with_disk(disk), "disk-xvdb").verdict, health::fail);
  disk.kernel_drives = false;
  EXPECT_EQ(row(with_disk(disk), "disk-xvdb").verdict, health::pass);
}

TEST(disk_check, is_unknown_where_xenstore_cannot_be_read) {
  auto disk = healthy_disk();
  disk.front.clear();
  auto snapshot = with_disk(disk);
  snapshot.from.store = {.problem = "permission denied"};
  EXPECT_EQ(row(snapshot, "disk-xvdb").verdict, health::unknown);
  EXPECT_EQ(row(snapshot, "disk-xvdb").remedy, "permission denied");
}

}  // namespace
}  // namespace xenpv::doctor
