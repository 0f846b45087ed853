// Reads the partition table of a disk: an MBR with logical partitions, or a GPT and, if that is
// damaged, its backup. A state machine: it asks for ranges of the disk, and the caller reads them.
//
// A GPT is used only with a protective MBR, as in Linux. Unlike Linux, refuses tables with a
// missing or wrong checksum: the user of a wrong partition would overwrite other data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "blk/gpt.hpp"
#include "blk/mbr.hpp"
#include "blk/partition_table.hpp"

namespace xenpv::blk {

class partition_scan {
 public:
  /// Whole sectors within the disk, at most largest_read bytes.
  struct byte_range {
    std::uint64_t offset = 0;
    std::size_t length = 0;
  };
  static constexpr std::size_t largest_read = std::size_t{128} << 10U;

  explicit partition_scan(disk_extent disk);

  /// The range to read next, or nullopt when the scan has ended. Ends after at most 600 ranges.
  [[nodiscard]] const std::optional<byte_range>& next() const noexcept { return next_; }
  /// Takes the contents of the range that next() asked for; the length must be equal.
  void accept(std::span<const std::byte> bytes);

  /// The outcome, once next() is nullopt. Errors: std::errc::no_such_device_or_address if the disk
  /// has no partition table; the text names its contents. EUCLEAN if the table is damaged;
  /// errc::invalid_argument for an unsupported sector size.
  [[nodiscard]] result<partition_table> finish();

 private:
  enum class stage { start, gpt_header, gpt_entries, boot_records };

  void read(std::uint64_t sector, std::size_t length);
  void accept_start(std::span<const std::byte> bytes);
  void start_mbr(const mbr_entries& entries);
  void continue_mbr();
  void start_gpt(const mbr_entries& entries);
  void accept_header(std::span<const std::byte> bytes, std::uint64_t sector);
  void read_more_entries();
  void finish_gpt();
  void try_next_header(std::string reason);
  void fail(std::string reason, std::string_view remedy);
  void end(partition_table table);

  [[nodiscard]] error missing_table() const;
  [[nodiscard]] std::string contents_of_other_size() const;

  disk_extent disk_;
  stage stage_ = stage::start;
  std::optional<byte_range> next_;
  std::optional<result<partition_table>> outcome_;
  std::vector<std::byte> start_;  ///< the start of the disk
  std::optional<mbr_reader> mbr_;
  std::vector<std::string> warnings_;

  gpt_header header_;
  std::uint64_t header_sector_ = 0;
  std::vector<std::byte> entries_;
  std::vector<std::uint64_t> backups_;  ///< sectors of headers to try; the last is the next
  std::string gpt_damage_;              ///< why the headers tried so far cannot be used
};

}  // namespace xenpv::blk
