// Which disks may take the place of the one that was lost.
#include "blkfront/identity.hpp"

#include <gmock/gmock.h>

namespace xenpv::blkfront {
namespace {

using ::testing::HasSubstr;

known_disk usual() {
  known_disk out;
  out.shape.size = 64U << 20;
  out.identity = {.vdi = "a1", .page83 = "naa.5", .params = "/dev/vg/disk"};
  return out;
}

std::string refusal(const known_disk& now, bool may_have_moved = false,
                    const known_disk& before = usual()) {
  const auto same = check_same_disk(before, now, may_have_moved);
  if (same) return {};
  EXPECT_EQ(same.error().code, errc::wrong_disk);
  return same.error().text;
}

TEST(identity, is_a_line_that_can_be_read_back) {
  auto disk = usual();
  disk.shape.read_only = true;
  disk.identity.params = "a b=c\n%2f/\xff";
  const auto text = to_text({disk, 7});
  EXPECT_EQ(text,
            "disk-1 domain=7 size=67108864 sector-size=512 read-only=1 flush=0 cdrom=0 vdi=a1 "
            "page83=naa.5 params=a%20b%3dc%0a%252f/%ff");
  const auto read = parse_remembered(text);
  ASSERT_TRUE(read) << read.error().text;
  EXPECT_EQ(read->domain, 7U);
  EXPECT_EQ(read->disk.identity, disk.identity);
  EXPECT_EQ(refusal(disk, false, read->disk), "");
}

TEST(identity, refuses_a_line_that_nobody_has_written) {
  for (const auto* const text :
       {"", "disk-2 domain=7", "disk-1 domain=7 size=64M", "disk-1 size=1 sector-size=512"}) {
    const auto read = parse_remembered(text);
    ASSERT_FALSE(read) << text;
    EXPECT_THAT(read.error().text, HasSubstr("this version of the program has not written it"));
  }
}

TEST(identity, takes_the_same_disk_back) {
  EXPECT_EQ(refusal(usual()), "");
  auto other_features = usual();
  other_features.shape.can_discard = true;
  other_features.shape.preferred_transfer = 1 << 20;
  EXPECT_EQ(refusal(other_features), "") << "limits may have changed";
}

TEST(identity, refuses_another_size_by_both_sizes) {
  auto now = usual();
  now.shape.size = 32U << 20;
  EXPECT_EQ(refusal(now),
            "the disk came back with 32 MiB (33554432 bytes) in place of 64 MiB (67108864 bytes): "
            "not the same disk (nothing was written to it; what waits for the disk has failed. "
            "Attach the right one, or open this one anew)");
  now.shape.size = 128U << 20;
  EXPECT_THAT(refusal(now, true), HasSubstr("came back with 128 MiB"));
}

TEST(identity, refuses_other_sectors) {
  auto now = usual();
  now.shape.sector_size = 4096;
  EXPECT_THAT(refusal(now), HasSubstr("sectors of 4096 bytes in place of 512"));
}

TEST(identity, refuses_a_writable_disk_that_comes_back_read_only_but_not_the_other_way_round) {
  auto now = usual();
  now.shape.read_only = true;
  EXPECT_THAT(refusal(now), HasSubstr("came back read-only"));
  EXPECT_EQ(refusal(usual(), false, now), "");
}

TEST(identity, refuses_another_name_where_both_have_one) {
  auto now = usual();
  now.identity.vdi = "b2";
  EXPECT_THAT(refusal(now, true), HasSubstr("came back as VDI b2 in place of a1"));
  now.identity.vdi.clear();
  EXPECT_EQ(refusal(now), "");
  now.identity.page83 = "naa.6";
  EXPECT_THAT(refusal(now, true), HasSubstr("another SCSI identity"));
}

TEST(identity, lets_the_path_change_only_with_the_host) {
  auto now = usual();
  now.identity.params = "/dev/drbd0";
  EXPECT_THAT(refusal(now), HasSubstr("made from '/dev/drbd0' in place of '/dev/vg/disk'"));
  EXPECT_EQ(refusal(now, true), "");
}

TEST(identity, lets_a_drive_come_back_with_another_medium) {
  auto before = usual();
  before.shape.cdrom = before.shape.read_only = true;
  auto now = before;
  now.shape.size = 0;
  now.identity.params = "other.iso";
  EXPECT_EQ(refusal(now, false, before), "");
}

TEST(identity, reads_the_nodes_that_name_a_disk) {
  const auto got = parse_identity({{"params", "p"}, {"sm-data/vdi-uuid", "v"}, {"mode", "w"}});
  EXPECT_EQ(got, (disk_identity{.vdi = "v", .page83 = "", .params = "p"}));
}

}  // namespace
}  // namespace xenpv::blkfront
