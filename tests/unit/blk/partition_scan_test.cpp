// Disks without a partition table, unusual disks, random contents, and reading through a queue.
#include "blk/partition_scan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/post.hpp>
#include <random>

#include "blk/partition_reader.hpp"
#include "unit/async/run_coroutine.hpp"
#include "unit/blk/partition_image.hpp"

namespace xenpv::blk {
namespace {

using namespace std::string_view_literals;
using test::disk_image;
using ::testing::StartsWith;

std::string without_table(std::string_view contents) {
  return fmt::format(
      "cannot read the partition table: the disk has none; it holds {} (use the whole "
      "disk)",
      contents);
}

TEST(partition_scan, says_what_a_disk_without_a_table_holds) {
  struct contents {
    std::size_t offset;
    std::string_view bytes;
    std::string_view name;
  };
  for (const auto& [offset, bytes, name] :
       {contents{0, ""sv, "only zeros at its start"}, contents{0, "XFSB"sv, "an XFS file system"},
        contents{0x10040, "_BHRfS_M"sv, "a Btrfs file system"},
        contents{512, "LABELONE"sv, "an LVM physical volume"},
        contents{0, "LUKS\xBA\xBE"sv, "a LUKS volume"},
        contents{4086, "SWAPSPACE2"sv, "Linux swap space"},
        contents{1024 + 56, "\x53\xEF"sv, "an ext2 file system"},
        contents{32769, "CD001"sv, "an ISO 9660 file system"},
        contents{512, "PM\0\0"sv, "an Apple partition map, which is not supported"}}) {
    disk_image disk(200);
    disk.put_text(offset, bytes);
    EXPECT_EQ(disk.outcome(), without_table(name));
  }
}

TEST(partition_scan, tells_ext4_from_its_predecessors) {
  disk_image disk(200);
  disk.put<std::uint16_t>(1024 + 0x38, 0xEF53);
  disk.put<std::uint32_t>(1024 + 0x5C, 0x4);
  EXPECT_EQ(disk.outcome(), without_table("an ext3 file system"));
  disk.put<std::uint32_t>(1024 + 0x60, 0x40);
  EXPECT_EQ(disk.outcome(), without_table("an ext4 file system"));
}

// The boot sector of such a file system has the signature of an MBR.
TEST(partition_scan, does_not_take_a_boot_sector_for_a_table) {
  disk_image disk(200);
  disk.put_signature(0);
  disk.put_text(3, "NTFS    ");
  EXPECT_EQ(disk.outcome(), without_table("an NTFS file system"));
  disk.put_text(446, "boot code in place of the entries");
  EXPECT_EQ(disk.outcome(), without_table("an NTFS file system"));
}

TEST(partition_scan, reports_a_disk_with_unknown_contents) {
  disk_image disk(200);
  disk.put_text(7, "???");
  EXPECT_EQ(disk.outcome(),
            "cannot read the partition table: the disk has none (use the whole disk)");
  EXPECT_EQ(disk.scan().error().code, std::errc::no_such_device_or_address);
}

TEST(partition_scan, reports_a_drive_without_a_medium) {
  EXPECT_EQ(
      disk_image(0).outcome(),
      "cannot read the partition table: the disk is smaller than a sector (insert a medium or "
      "resize the disk)");
}

TEST(partition_scan, refuses_other_sector_sizes) {
  for (const auto size : {0U, 1U, 256U, 520U, 8192U}) {
    const disk_extent disk{1U << 20U, size};
    partition_scan scan(disk);
    EXPECT_FALSE(scan.next());
    EXPECT_EQ(scan.finish().error().text,
              fmt::format("cannot read the partition table: sectors of {} bytes are not supported "
                          "(512 to 4096)",
                          size));
  }
}

TEST(partition_scan, reads_disks_of_a_few_sectors) {
  for (const auto size : {512U, 4096U}) {
    for (std::uint64_t sectors = 1; sectors < 8; ++sectors) {
      disk_image disk(sectors, size);
      disk.put_mbr_entry(0, 0, 0xEE, 1, 0xFFFFFFFF);
      EXPECT_THAT(disk.outcome(), StartsWith("cannot read the partition table: the "));
      disk.put_mbr_entry(0, 0, 0x83, 0, static_cast<std::uint32_t>(sectors));
      EXPECT_EQ(disk.scan().value().find(1).value().size, sectors * size);
    }
  }
}

TEST(partition_scan, ignores_a_rest_smaller_than_a_sector) {
  disk_image disk(64);
  disk.put_gpt({8, 128, {{10, 19, u""}}});
  disk.put_text(512, "no primary header");
  disk.bytes().resize(disk.bytes().size() + 511);
  EXPECT_TRUE(disk.scan().value().find(1));
}

// Whatever a disk holds, a partition that can be used lies within the disk.
TEST(partition_scan, yields_only_partitions_within_the_disk_from_random_entries) {
  std::mt19937 engine(7);
  const auto random = [&engine] { return static_cast<std::uint32_t>(engine()); };
  unsigned usable = 0;
  for (int i = 0; i < 20000; ++i) {
    disk_image disk(64 + random() % 64);
    for (std::uint64_t sector = 0; sector < disk.sectors(); ++sector) {
      for (unsigned slot = 0; slot < 4; ++slot) {
        const auto type = static_cast<std::uint8_t>(random() % 2 == 0 ? 0x05 : 0x83);
        if (random() % 3 == 0)
          disk.put_mbr_entry(sector, slot, type, random() % 140, random() % 64);
      }
    }
    const auto table = disk.scan();
    if (!table) continue;
    for (const auto& one : table->partitions) {
      if (!one.problem.empty()) continue;
      ++usable;
      ASSERT_GT(one.size, 0U);
      ASSERT_LE(one.offset + one.size, disk.bytes().size());
      ASSERT_EQ(table->find(one.number).value(), one);
    }
  }
  EXPECT_GT(usable, 1000U);
}

/// Reads from memory. Completes requests asynchronously; fails at `bad`.
class memory_queue : public block_queue {
 public:
  memory_queue(asio::io_context& context, disk_image& disk) : context_(context), disk_(disk) {
    shape_.size = disk.extent().size;
    shape_.sector_size = disk.extent().sector_size;
  }
  asio::any_io_executor get_executor() const override { return context_.get_executor(); }
  void submit(request& r) override {
    ASSERT_EQ(r.op, operation::read);
    asio::post(context_, [this, &r] {
      if (is_broken) r.status = make_error_code(std::errc::io_error);
      std::copy_n(disk_.bytes().begin() + static_cast<std::ptrdiff_t>(r.offset), r.length,
                  r.memory);
      r.done(r);
    });
  }
  void commit() override {}

  bool is_broken = false;

 private:
  asio::io_context& context_;
  disk_image& disk_;
};

TEST(partition_reader, reads_a_table_through_a_queue) {
  disk_image disk(300);
  disk.put_gpt({128, 128, {{50, 59, u"data"}}});
  asio::io_context context;
  memory_queue queue(context, disk);
  std::string name;
  async::test::run(context, [](block_queue& from, std::string& out) -> asio::awaitable<void> {
    const auto table = co_await read_partition_table(from);
    out = table.find(1).value().name;
  }(queue, name));
  EXPECT_EQ(name, "data");
}

TEST(partition_reader, throws_the_error_of_a_read_and_of_a_scan) {
  disk_image disk(300);
  asio::io_context context;
  memory_queue queue(context, disk);
  const auto message = [&] {
    std::string text;
    async::test::run(context, [](block_queue& from, std::string& out) -> asio::awaitable<void> {
      try {
        (void)co_await read_partition_table(from);
      } catch (const failure& e) {
        out = e.what();
      }
    }(queue, text));
    return text;
  };
  EXPECT_EQ(message(), without_table("only zeros at its start"));
  queue.is_broken = true;
  EXPECT_THAT(message(), ::testing::HasSubstr("nput/output error"));
}

}  // namespace
}  // namespace xenpv::blk
