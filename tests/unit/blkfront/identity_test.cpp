// The check that a disk is still the same one after a reconnect.
#include "blkfront/identity.hpp"

#include <gmock/gmock.h>

#include <array>
#include <string>

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

TEST(identity, survives_a_round_trip_through_its_text) {
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

TEST(identity, refuses_a_malformed_line) {
  for (const auto* const text :
       {"", "disk-2 domain=7", "disk-1 domain=7 size=64M", "disk-1 size=1 sector-size=512"}) {
    const auto read = parse_remembered(text);
    ASSERT_FALSE(read) << text;
    EXPECT_THAT(read.error().text, HasSubstr("not written by this version of the program"));
  }
}

TEST(identity, accepts_the_same_disk) {
  EXPECT_EQ(refusal(usual()), "");
  auto other_features = usual();
  other_features.shape.can_discard = true;
  other_features.shape.preferred_transfer = 1 << 20;
  EXPECT_EQ(refusal(other_features), "") << "limits may have changed";
}

TEST(identity, refuses_a_smaller_disk_by_both_sizes) {
  auto now = usual();
  now.shape.size = 32U << 20;
  EXPECT_EQ(refusal(now),
            "the size is 32 MiB (33554432 bytes), previously 64 MiB (67108864 bytes): "
            "not the same disk (nothing was written to it; queued requests have failed. "
            "Attach the right disk, or reopen this one)");
  EXPECT_THAT(refusal(now, true), HasSubstr("the size is 32 MiB"));
}

TEST(identity, accepts_a_larger_disk_only_with_a_matching_name) {
  auto now = usual();
  now.shape.size = 128U << 20;
  EXPECT_EQ(refusal(now), "");
  EXPECT_EQ(refusal(now, true), "");
  now.identity = {.vdi = "", .page83 = "", .params = "/dev/vg/disk"};
  EXPECT_EQ(refusal(now), "") << "the same path on the same host";
  EXPECT_THAT(refusal(now, true), HasSubstr("the size is 128 MiB"))
      << "the same path on another host may be another disk";
  now.identity = {};
  EXPECT_THAT(refusal(now), HasSubstr("the size is 128 MiB"));
}

TEST(identity, refuses_another_sector_size) {
  auto now = usual();
  now.shape.sector_size = 4096;
  EXPECT_THAT(refusal(now), HasSubstr("the sector size is 4096 bytes, previously 512"));
}

TEST(identity, refuses_a_writable_disk_that_becomes_read_only_but_not_the_reverse) {
  auto now = usual();
  now.shape.read_only = true;
  EXPECT_THAT(refusal(now), HasSubstr("now read-only"));
  EXPECT_EQ(refusal(usual(), false, now), "");
}

TEST(identity, refuses_another_name_if_both_have_one) {
  auto now = usual();
  now.identity.vdi = "b2";
  EXPECT_THAT(refusal(now), HasSubstr("the VDI is b2, previously a1"));
  now.identity.vdi.clear();
  EXPECT_EQ(refusal(now), "");
  now.identity.page83 = "naa.6";
  EXPECT_THAT(refusal(now), HasSubstr("SCSI identity has changed"));
}

TEST(identity, accepts_another_path_only_on_another_host) {
  auto now = usual();
  now.identity.params = "/dev/drbd0";
  EXPECT_THAT(refusal(now), HasSubstr("source is '/dev/drbd0', previously '/dev/vg/disk'"));
  EXPECT_EQ(refusal(now, true), "");
}

// Live storage migration copies the disk. The copy has a new VDI, and its other names change too.
TEST(identity, accepts_other_names_on_another_host) {
  auto now = usual();
  now.identity = {.vdi = "b2", .page83 = "naa.6", .params = "/dev/drbd0"};
  EXPECT_EQ(refusal(now, true), "");
}

/// One of a disk's names before and after the reconnect. "" stands for a missing name.
struct name_change {
  const char* before;
  const char* after;
  [[nodiscard]] bool differs() const {
    return *before != '\0' && *after != '\0' && std::string(before) != after;
  }
  [[nodiscard]] bool agrees() const { return *before != '\0' && std::string(before) == after; }
};
constexpr std::array<name_change, 5> name_changes = {
    {{"", ""}, {"a", ""}, {"", "a"}, {"a", "a"}, {"a", "b"}}};

/// The documented rules in the documented order, implemented independently of the code.
bool is_expected_to_pass(const std::array<name_change, 3>& names, int growth, bool moved) {
  if (growth < 0) return false;
  const auto& [vdi, page83, params] = names;
  const bool renamed = vdi.differs() || page83.differs() || params.differs();
  if (!moved && renamed) return false;
  if (growth == 0) return true;
  return vdi.agrees() || page83.agrees() || (params.agrees() && !moved);
}

TEST(identity, follows_its_rules_for_all_combinations) {
  unsigned passed = 0;
  unsigned refused = 0;
  for (const auto& vdi : name_changes)
    for (const auto& page83 : name_changes)
      for (const auto& params : name_changes)
        for (const int growth : {-1, 0, 1})
          for (const bool moved : {false, true}) {
            known_disk before;
            before.shape.size = 64U << 20;
            before.identity = {vdi.before, page83.before, params.before};
            known_disk now;
            now.shape.size = (64U << 20) + static_cast<std::uint64_t>(growth) * 4096;
            now.identity = {vdi.after, page83.after, params.after};
            const bool same = check_same_disk(before, now, moved).has_value();
            EXPECT_EQ(same, is_expected_to_pass({vdi, page83, params}, growth, moved))
                << to_text({before, 0}) << " -> " << to_text({now, 0}) << " moved " << moved;
            ++(same ? passed : refused);
          }
  EXPECT_EQ(passed + refused, 750U);
  EXPECT_GT(passed, 100U);
}

TEST(identity, accepts_a_drive_with_another_medium) {
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
