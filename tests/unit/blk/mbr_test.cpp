// Primary and logical partitions of an MBR: numbers, bounds, and damaged chains.
#include "blk/mbr.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/blk/partition_image.hpp"

namespace xenpv::blk {
namespace {

using test::disk_image;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::string summary(const partition& one) {
  return fmt::format("{}: {}+{} type {}{}{}", one.number, one.offset / 512, one.size / 512,
                     one.type, one.problem.empty() ? "" : ": ", one.problem);
}

std::vector<std::string> summaries(const disk_image& disk) {
  std::vector<std::string> out;
  for (const auto& one : disk.scan().value().partitions)
    out.push_back(summary(one));
  return out;
}

constexpr std::string_view extended =
    "it is an extended partition (use one of its logical partitions)";

/// A primary partition in slot 1, and an extended one in slot 3 (sectors 300 to 999) with two
/// logical partitions.
disk_image with_logical_partitions() {
  disk_image disk(1000);
  disk.put_mbr_entry(0, 0, 0x83, 100, 200);
  disk.put_mbr_entry(0, 2, 0x05, 300, 700);
  disk.put_mbr_entry(300, 0, 0x83, 10, 90);
  disk.put_mbr_entry(300, 1, 0x05, 200, 200);
  disk.put_mbr_entry(500, 0, 0x82, 10, 190);
  return disk;
}

TEST(mbr, numbers_primary_partitions_by_their_slots) {
  disk_image disk(1000);
  disk.put_mbr_entry(0, 1, 0x83, 63, 100);
  disk.put_mbr_entry(0, 3, 0x0C, 200, 800);
  const auto table = disk.scan().value();
  EXPECT_EQ(table.kind, partition_table_kind::mbr);
  ASSERT_THAT(table.partitions, ::testing::SizeIs(2));
  EXPECT_EQ(summary(table.partitions[0]), "2: 63+100 type 83");
  EXPECT_EQ(table.partitions[0].type_name, "Linux");
  EXPECT_EQ(summary(table.partitions[1]), "4: 200+800 type c");
  EXPECT_THAT(table.warnings, IsEmpty());
}

TEST(mbr, counts_in_sectors_of_the_disk) {
  disk_image disk(100, 4096);
  disk.put_mbr_entry(0, 0, 0x83, 10, 90);
  const auto one = disk.scan().value().find(1).value();
  EXPECT_EQ(one.offset, 40960U);
  EXPECT_EQ(one.size, 368640U);
}

TEST(mbr, numbers_logical_partitions_from_five_on) {
  const auto disk = with_logical_partitions();
  EXPECT_THAT(summaries(disk),
              ElementsAre("1: 100+200 type 83", fmt::format("3: 300+700 type 5: {}", extended),
                          "5: 310+90 type 83", "6: 510+190 type 82"));
  EXPECT_THAT(disk.scan().value().warnings, IsEmpty());
}

TEST(mbr, explains_why_an_extended_partition_cannot_be_used) {
  EXPECT_EQ(with_logical_partitions().scan().value().find(3).error().text,
            fmt::format("cannot use partition 3: {}", extended));
}

TEST(mbr, lists_the_partitions_that_exist_if_one_does_not) {
  EXPECT_EQ(with_logical_partitions().scan().value().find(7).error().text,
            "cannot find partition 7: the MBR has these partitions: 1, 3, 5-6");
}

TEST(mbr, skips_empty_boot_records_as_linux_does) {
  auto disk = with_logical_partitions();
  disk.put_mbr_entry(300, 0, 0, 0, 0);
  EXPECT_THAT(summaries(disk),
              ElementsAre("1: 100+200 type 83", fmt::format("3: 300+700 type 5: {}", extended),
                          "5: 510+190 type 82"));
}

TEST(mbr, accepts_an_empty_extended_partition) {
  disk_image disk(1000);
  disk.put_mbr_entry(0, 0, 0x0F, 100, 200);
  EXPECT_THAT(summaries(disk), ElementsAre(fmt::format("1: 100+200 type f: {}", extended)));
  EXPECT_THAT(disk.scan().value().warnings, IsEmpty());
}

TEST(mbr, refuses_a_partition_beyond_the_end_of_the_disk) {
  disk_image disk(1000);
  disk.put_mbr_entry(0, 0, 0x83, 100, 901);
  disk.put_mbr_entry(0, 1, 0x83, 0xFFFFFFFF, 0xFFFFFFFF);
  disk.put_mbr_entry(0, 2, 0x83, 10, 50);
  const auto table = disk.scan().value();
  EXPECT_EQ(table.find(1).error().text,
            "cannot use partition 1: it ends beyond the end of the disk");
  EXPECT_EQ(table.find(2).error().text,
            "cannot use partition 2: it ends beyond the end of the disk");
  EXPECT_TRUE(table.find(3));
}

TEST(mbr, ends_a_chain_that_loops) {
  auto disk = with_logical_partitions();
  disk.put_mbr_entry(500, 1, 0x05, 0, 200);  // back to the first EBR
  EXPECT_THAT(summaries(disk),
              ElementsAre("1: 100+200 type 83", fmt::format("3: 300+700 type 5: {}", extended),
                          "5: 310+90 type 83", "6: 510+190 type 82"));
  EXPECT_THAT(
      disk.scan().value().warnings,
      ElementsAre("the chain of logical partitions is damaged: a link leads back; partitions "
                  "from number 7 on are unknown"));
  disk.put_mbr_entry(500, 1, 0x05, 200, 200);  // to itself
  EXPECT_EQ(disk.scan().value().warnings.size(), 1U);
}

TEST(mbr, ends_a_chain_that_leaves_the_extended_partition) {
  auto disk = with_logical_partitions();
  disk.put_mbr_entry(300, 1, 0x05, 700, 10);
  EXPECT_EQ(disk.scan().value().partitions.size(), 3U);
  EXPECT_THAT(disk.scan().value().warnings,
              ElementsAre("the chain of logical partitions is damaged: a link leaves the extended "
                          "partition; partitions from number 6 on are unknown"));
}

TEST(mbr, ends_a_chain_with_an_invalid_boot_record) {
  auto disk = with_logical_partitions();
  disk.put<std::uint16_t>(500 * 512 + 510, 0);
  EXPECT_THAT(
      disk.scan().value().warnings,
      ElementsAre("the chain of logical partitions is damaged: an EBR is invalid; partitions "
                  "from number 6 on are unknown"));
}

TEST(mbr, ends_a_chain_of_thousands_of_boot_records) {
  disk_image disk(5000);
  disk.put_mbr_entry(0, 0, 0x05, 1, 4999);
  for (std::uint32_t sector = 1; sector < 4998; ++sector)
    disk.put_mbr_entry(sector, 1, 0x05, sector, 1);
  EXPECT_THAT(disk.scan().value().warnings,
              ElementsAre("the chain of logical partitions is damaged: the chain is too long; "
                          "partitions from number 5 on are unknown"));
}

TEST(mbr, keeps_numbers_below_the_limit_of_linux) {
  disk_image disk(2000);
  disk.put_mbr_entry(0, 0, 0x05, 1, 1999);
  for (std::uint32_t i = 0; i < 400; ++i) {
    disk.put_mbr_entry(1 + i * 4, 0, 0x83, 1, 1);
    disk.put_mbr_entry(1 + i * 4, 1, 0x05, (i + 1) * 4, 4);
  }
  const auto table = disk.scan().value();
  EXPECT_EQ(table.partitions.back().number, 255U);
  EXPECT_EQ(table.warnings.size(), 1U);
}

TEST(mbr, refuses_a_logical_partition_outside_its_extended_partition) {
  auto disk = with_logical_partitions();
  disk.put_mbr_entry(0, 2, 0x05, 300, 300);
  EXPECT_EQ(disk.scan().value().find(6).error().text,
            "cannot use partition 6: it lies outside its extended partition");
  EXPECT_TRUE(disk.scan().value().find(5));
}

TEST(mbr, refuses_a_partition_that_contains_a_boot_record) {
  auto disk = with_logical_partitions();
  disk.put_mbr_entry(300, 0, 0x83, 10, 191);
  EXPECT_EQ(disk.scan().value().find(5).error().text,
            "cannot use partition 5: it contains the EBR of a logical partition");
  disk.put_mbr_entry(0, 0, 0x83, 100, 201);
  EXPECT_EQ(disk.scan().value().find(1).error().text,
            "cannot use partition 1: it contains the EBR of a logical partition");
}

TEST(mbr, refuses_logical_partitions_that_overlap) {
  auto disk = with_logical_partitions();
  disk.put_mbr_entry(300, 2, 0x83, 50, 100);
  const auto table = disk.scan().value();
  EXPECT_EQ(table.find(5).error().text, "cannot use partition 5: it overlaps partition 6");
  EXPECT_EQ(table.find(6).error().text, "cannot use partition 6: it overlaps partition 5");
  EXPECT_TRUE(table.find(7));
}

// Linux ignores the last two entries of an EBR unless they are plausible.
TEST(mbr, ignores_garbage_in_the_last_entries_of_a_boot_record) {
  auto disk = with_logical_partitions();
  disk.put_mbr_entry(300, 2, 0x41, 0x20202020, 0x20202020);
  EXPECT_EQ(disk.scan().value().partitions.size(), 4U);
}

TEST(mbr, reads_several_extended_partitions_in_the_order_of_their_slots) {
  auto disk = with_logical_partitions();
  disk.put_mbr_entry(0, 2, 0x05, 300, 200);
  disk.put_mbr_entry(300, 1, 0, 0, 0);
  disk.put_mbr_entry(0, 3, 0x85, 500, 500);
  EXPECT_THAT(summaries(disk),
              ElementsAre("1: 100+200 type 83", fmt::format("3: 300+200 type 5: {}", extended),
                          fmt::format("4: 500+500 type 85: {}", extended), "5: 310+90 type 83",
                          "6: 510+190 type 82"));
}

// Images for optical and USB drives cover themselves with a first partition.
TEST(mbr, warns_about_overlapping_primary_partitions) {
  disk_image disk(1000);
  disk.put_mbr_entry(0, 0, 0x17, 0, 1000);
  disk.put_mbr_entry(0, 1, 0xEF, 100, 50);
  const auto table = disk.scan().value();
  EXPECT_TRUE(table.find(1));
  EXPECT_TRUE(table.find(2));
  EXPECT_THAT(table.warnings,
              ElementsAre("partition 1 contains the MBR", "partition 2 overlaps partition 1"));
}

TEST(mbr, is_not_a_table_if_the_status_of_an_entry_is_invalid) {
  disk_image disk(1000);
  disk.put_mbr_entry(0, 0, 0x83, 100, 100);
  disk.put<std::uint8_t>(446 + 16, 0x20);
  EXPECT_EQ(disk.scan().error().code, std::errc::no_such_device_or_address);
}

}  // namespace
}  // namespace xenpv::blk
