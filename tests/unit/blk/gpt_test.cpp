// GUID partition tables: checksums, the backup, limits and names.
#include "blk/gpt.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "unit/blk/partition_image.hpp"

namespace xenpv::blk {
namespace {

using namespace std::string_literals;
using test::disk_image;
using test::gpt_layout;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::string_view remedy = "repair it with sgdisk(8) or gdisk(8)";

/// 64 sectors: entries in sectors 2 and 3, usable sectors 4 to 60.
gpt_layout two_partitions() {
  return {8, 128, {{4, 9, u"boot"}, {}, {20, 60, u"root"}}};
}

disk_image with_gpt(const gpt_layout& layout = two_partitions(), std::uint64_t sectors = 64) {
  disk_image disk(sectors);
  disk.put_gpt(layout);
  return disk;
}

void flip(disk_image& disk, std::size_t bit) {
  disk.bytes()[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
}

TEST(gpt, numbers_partitions_by_their_entries) {
  const auto table = with_gpt().scan().value();
  EXPECT_EQ(table.kind, partition_table_kind::gpt);
  EXPECT_THAT(table.warnings, IsEmpty());
  ASSERT_EQ(table.partitions.size(), 2U);
  const auto one = table.find(3).value();
  EXPECT_EQ(one.offset, 20U * 512);
  EXPECT_EQ(one.size, 41U * 512);
  EXPECT_EQ(one.type, "0FC63DAF-8483-4772-8E79-3D69D8477DE4");
  EXPECT_EQ(one.type_name, "Linux filesystem");
  EXPECT_EQ(one.name, "root");
  EXPECT_EQ(table.find(2).error().text,
            "cannot find partition 2: the GPT has these partitions: 1, 3");
}

TEST(gpt, counts_in_sectors_of_the_disk) {
  for (const auto size : {512U, 1024U, 2048U, 4096U}) {
    disk_image disk(64, size);
    disk.put_gpt({8, 128, {{10, 19, u"a"}}});
    const auto one = disk.scan().value().find(1).value();
    EXPECT_EQ(one.offset, 10U * size);
    EXPECT_EQ(one.size, 10U * size);
  }
}

TEST(gpt, reads_large_entries_and_long_arrays) {
  for (const auto& [count, size] : {std::pair(8192U, 128U), std::pair(256U, 4096U)}) {
    disk_image disk(6000);
    disk.put_gpt({count, size, {{3000, 3099, u"a"}}});
    EXPECT_TRUE(disk.scan().value().find(1)) << disk.outcome();
  }
}

TEST(gpt, reports_a_table_without_partitions) {
  EXPECT_EQ(with_gpt({}).scan().value().find(1).error().text,
            "cannot find partition 1: the GPT has no partitions");
}

// Each bit of both copies and of the protective MBR, one at a time.
TEST(gpt, never_yields_a_different_partition_after_a_bit_flip) {
  auto disk = with_gpt();
  const auto expected = disk.scan().value().partitions;
  std::size_t same = 0;
  for (std::size_t bit = 0; bit < disk.bytes().size() * 8; ++bit) {
    flip(disk, bit);
    if (const auto table = disk.scan()) {
      ASSERT_EQ(table->partitions, expected) << "bit " << bit;
      ++same;
    }
    flip(disk, bit);
  }
  // Only flips in the protective MBR can make the table unreadable: its signature (16 bits), the
  // status of four entries (28 bits), the type (8 bits).
  EXPECT_GE(same, disk.bytes().size() * 8 - 52);
}

TEST(gpt, uses_the_backup_and_says_so_after_a_bit_flip_in_the_primary_copy) {
  auto disk = with_gpt();
  const auto expected = disk.scan().value().partitions;
  for (std::size_t bit = 512 * 8; bit < std::size_t{4} * 512 * 8; ++bit) {
    // The rest of the header's sector is not part of the table.
    if (bit >= std::size_t{512 + 92} * 8 && bit < std::size_t{1024} * 8) continue;
    flip(disk, bit);
    const auto table = disk.scan().value();
    ASSERT_EQ(table.partitions, expected) << "bit " << bit;
    ASSERT_THAT(table.warnings, ElementsAre(HasSubstr("using the backup in sector 63")));
    flip(disk, bit);
  }
}

TEST(gpt, is_refused_if_both_copies_are_damaged) {
  std::mt19937 random(1);
  // The entries of a copy, or the 92 bytes of its header.
  const auto random_bit = [&random](std::size_t header, std::size_t entries) {
    const std::size_t bit = random() % ((1024 + 92) * 8);
    return bit < std::size_t{1024} * 8 ? entries * 512 * 8 + bit
                                       : header * 512 * 8 + bit - std::size_t{1024} * 8;
  };
  for (int i = 0; i < 2000; ++i) {
    auto disk = with_gpt();
    flip(disk, random_bit(1, 2));
    flip(disk, random_bit(63, 61));
    ASSERT_FALSE(disk.scan()) << i;
    ASSERT_THAT(disk.outcome(), HasSubstr("the GPT is damaged: primary: "));
  }
}

TEST(gpt, names_the_damage_of_both_copies) {
  auto disk = with_gpt();
  flip(disk, std::size_t{2} * 512 * 8);
  flip(disk, std::size_t{63} * 512 * 8 + 400);
  EXPECT_EQ(
      disk.outcome(),
      fmt::format("cannot read the partition table: the GPT is damaged: primary: the checksum "
                  "of the entries is wrong; backup in sector 63: the header's checksum is "
                  "wrong ({})",
                  remedy));
  EXPECT_EQ(disk.scan().error().code, std::error_code(EUCLEAN, std::generic_category()));
}

TEST(gpt, finds_the_backup_of_a_disk_that_grew_through_the_primary_header) {
  auto small = with_gpt();
  disk_image disk(100);
  std::copy(small.bytes().begin(), small.bytes().end(), disk.bytes().begin());
  EXPECT_THAT(disk.scan().value().warnings, IsEmpty());
  flip(disk, std::size_t{2} * 512 * 8);  // the entries
  EXPECT_THAT(disk.scan().value().warnings,
              ElementsAre(HasSubstr("using the backup in sector 63")));
}

TEST(gpt, of_a_larger_disk_is_refused) {
  auto disk = with_gpt();
  disk.bytes().resize(std::size_t{50} * 512);
  EXPECT_THAT(
      disk.outcome(),
      HasSubstr("the GPT is for a larger disk: it uses sector 60, but this disk has 50 sectors"));
}

TEST(gpt, without_a_protective_mbr_is_refused) {
  auto disk = with_gpt();
  disk.put<std::uint8_t>(446 + 4, 0);
  disk.put<std::uint32_t>(446 + 12, 0);
  EXPECT_EQ(disk.outcome(),
            fmt::format("cannot read the partition table: the disk has a GPT without a protective "
                        "MBR ({})",
                        remedy));
}

TEST(gpt, is_refused_if_an_mbr_partition_covers_it) {
  auto disk = with_gpt();
  disk.put<std::uint8_t>(446 + 4, 0xEF);
  EXPECT_EQ(
      disk.outcome(),
      fmt::format("cannot read the partition table: the disk has a GPT, but its protective MBR "
                  "is damaged ({})",
                  remedy));
}

// As Linux does: a program that does not know GPTs wrote the MBR later.
TEST(gpt, is_ignored_if_an_ordinary_mbr_replaced_the_protective_one) {
  auto disk = with_gpt();
  disk.put_mbr_entry(0, 0, 0x83, 10, 20);
  const auto table = disk.scan().value();
  EXPECT_EQ(table.kind, partition_table_kind::mbr);
  EXPECT_THAT(table.warnings,
              ElementsAre("the GPT is ignored, because the MBR does not protect it"));
}

TEST(gpt, wins_over_the_partitions_of_a_hybrid_mbr) {
  auto disk = with_gpt();
  disk.put_mbr_entry(0, 1, 0x83, 10, 20);
  const auto table = disk.scan().value();
  EXPECT_EQ(table.kind, partition_table_kind::gpt);
  EXPECT_THAT(table.warnings,
              ElementsAre("the MBR has partitions of its own (a hybrid MBR): they are ignored"));
}

TEST(gpt, for_other_sector_sizes_is_recognised) {
  disk_image other(64, 512);
  other.put_gpt(two_partitions());
  disk_image disk(8, 4096);
  std::copy(other.bytes().begin(), other.bytes().end(), disk.bytes().begin());
  EXPECT_EQ(
      disk.outcome(),
      "cannot read the partition table: the GPT was made for sectors of 512 bytes, but those of "
      "this disk have 4096 (serve a range of bytes instead)");
}

TEST(gpt, refuses_partitions_with_impossible_bounds) {
  const auto table = with_gpt({8,
                               128,
                               {{30, 29, u""},
                                {40, 64, u""},
                                {40, ~0ULL, u""},
                                {3, 5, u""},
                                {50, 61, u""},
                                {10, 19, u""}}})
                         .scan()
                         .value();
  const auto reason = [&](unsigned number) { return table.find(number).error().text; };
  EXPECT_EQ(reason(1), "cannot use partition 1: it ends before it starts");
  EXPECT_EQ(reason(2), "cannot use partition 2: it ends beyond the end of the disk");
  EXPECT_EQ(reason(3), "cannot use partition 3: it ends beyond the end of the disk");
  EXPECT_EQ(reason(4), "cannot use partition 4: it contains parts of the GPT itself");
  EXPECT_EQ(reason(5),
            "cannot use partition 5: it lies outside the sectors that the GPT reserves "
            "for partitions");
  EXPECT_TRUE(table.find(6));
}

TEST(gpt, refuses_partitions_that_overlap) {
  const auto table =
      with_gpt({8, 128, {{10, 50, u""}, {20, 25, u""}, {26, 29, u""}, {51, 60, u""}}})
          .scan()
          .value();
  EXPECT_EQ(table.find(1).error().text, "cannot use partition 1: it overlaps partition 2");
  EXPECT_EQ(table.find(2).error().text, "cannot use partition 2: it overlaps partition 1");
  EXPECT_EQ(table.find(3).error().text, "cannot use partition 3: it overlaps partition 1");
  EXPECT_TRUE(table.find(4));
}

TEST(gpt, refuses_partitions_that_share_one_sector) {
  const auto table =
      with_gpt({8, 128, {{10, 20, u""}, {20, 29, u""}, {30, 39, u""}}}).scan().value();
  EXPECT_FALSE(table.find(1));
  EXPECT_FALSE(table.find(2));
  EXPECT_TRUE(table.find(3));
}

// A header with a correct checksum, but values that no program writes.
TEST(gpt, checks_each_field_of_a_header) {
  struct change {
    std::size_t offset;
    std::uint32_t value;
    std::string_view reason;
  };
  for (const auto& [offset, value, reason] :
       {change{8, 0x00020000, "the header has the unknown revision 0x20000"},
        change{12, 91, "the header has an invalid size of 91 bytes"},
        change{12, 513, "the header has an invalid size of 513 bytes"},
        change{24, 2, "the header belongs into sector 2"},
        change{40, 61, "the header reserves no sectors for partitions"},
        change{48, 64,
               "the GPT is for a larger disk: it uses sector 64, but this disk has 64 sectors"},
        change{72, 1, "the entries lie outside the disk"},
        change{72, 63, "the entries lie outside the disk"},
        change{76, 0xFFFFFFFF, "the entries lie outside the disk"},
        change{80, 0, "0 entries are not supported"},
        change{80, 8193, "8193 entries are not supported"},
        change{80, 0xFFFFFFFF, "4294967295 entries are not supported"},
        change{84, 64, "entries of 64 bytes are not supported"},
        change{84, 129, "entries of 129 bytes are not supported"},
        change{84, 8192, "entries of 8192 bytes are not supported"},
        change{88, 0, "the checksum of the entries is wrong"}}) {
    auto disk = with_gpt();
    disk.put_text(63 * 512, "no backup");
    disk.put(512 + offset, value);
    disk.seal_header(1);
    EXPECT_THAT(disk.outcome(), HasSubstr(fmt::format("primary: {};", reason))) << offset;
  }
}

TEST(gpt, decodes_names_to_printable_utf8) {
  const auto name = [](const std::u16string& text) {
    std::vector<std::byte> bytes(72);
    for (std::size_t i = 0; i < text.size() && i < 36; ++i) {
      bytes[2 * i] = static_cast<std::byte>(text[i] & 0xFF);
      bytes[2 * i + 1] = static_cast<std::byte>(text[i] >> 8);
    }
    return decode_gpt_name(bytes);
  };
  EXPECT_EQ(name(u""), "");
  EXPECT_EQ(name(u"EFI System Partition"), "EFI System Partition");
  EXPECT_EQ(name(u"\u00FCber \u20AC \U0001F4BE"), "\u00FCber \u20AC \U0001F4BE");
  EXPECT_EQ(name(u"two\nlines"), "two\\x0alines");
  EXPECT_EQ(name(u"\u001B[2J"), "\\x1b[2J");
  EXPECT_EQ(name(u"a\u202Eb\u0085c"), "a\\xe2\\x80\\xaeb\\xc2\\x85c");
  EXPECT_EQ(name({u'a', 0xD83D, u'b', 0xDCBE}), "a\uFFFDb\uFFFD");
  EXPECT_EQ(name({u'a', u'\0', u'b'}), "a");
  EXPECT_EQ(name(std::u16string(36, u'x')), std::string(36, 'x'));
  EXPECT_EQ(name(std::u16string(35, u'x') + static_cast<char16_t>(0xD83D)),
            std::string(35, 'x') + "\uFFFD");
}

}  // namespace
}  // namespace xenpv::blk
