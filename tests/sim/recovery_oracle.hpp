// The allowed contents of a disk, derived from requests and replies:
//  - each cell holds the value of the last completed write, or of a write that was in flight at the
//    same time or later; a failed write may or may not have taken effect, but no later than a
//    completed write that was submitted after the failure;
//  - after a power cut, no cell holds data older than the last successful flush. A failed flush
//    guarantees nothing, and a later flush does not cover writes completed before that failure.
//
// A cell is 128 bytes, so that writes to parts of a sector are checked; each word of a cell
// identifies the write that wrote it. Thread-safe. Does no I/O: recovery_load.hpp does the I/O and
// reports it to the oracle.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace xenpv::blkfront {

class recovery_oracle {
 public:
  static constexpr std::uint32_t cell_size = 128;

  /// `cells`: number of cells on the disk. Unwritten cells may hold anything.
  explicit recovery_oracle(std::size_t cells) : cells_(cells) {}

  /// Position in the sequence of all calls to this oracle.
  using moment = std::uint64_t;
  struct write_record;
  using write = std::shared_ptr<write_record>;
  enum class outcome : std::uint8_t {
    done,
    durable,  ///< a completed FUA write
    failed,   ///< may or may not have taken effect
  };

  /// Call before submission; fill() generates the bytes to write.
  [[nodiscard]] write begin_write(std::size_t first_cell, std::size_t cells);
  /// Like begin_write(), but for a discard: the range may then hold zeros or the old data.
  [[nodiscard]] write begin_discard(std::size_t first_cell, std::size_t cells);
  void end_write(const write& record, outcome result);
  /// A flush covers the writes completed before begin_flush().
  [[nodiscard]] moment begin_flush();
  void end_flush(moment begun, bool succeeded);
  [[nodiscard]] moment begin_read();
  /// `bytes`: the data read, starting at `first_cell`; empty: the read failed. Returns an empty
  /// string, or for wrong data a description that includes the cell's history.
  [[nodiscard]] std::string end_read(moment begun, std::size_t first_cell,
                                     std::span<const std::byte> bytes);

  /// Call before and after a power cut, in which a volatile cache loses its contents.
  void begin_power_cut();
  void end_power_cut();
  /// Call before the backend disappears without closing: may_fail_flush() then returns true.
  void note_loss();
  [[nodiscard]] bool may_fail_flush() const;

  static void fill(std::span<std::byte> bytes, std::size_t first_cell, const write& record);

 private:
  struct cell {
    std::vector<write> writes;  ///< writes whose data the cell may hold
    bool is_known = false;      ///< overwritten durably: may no longer hold its initial data
  };

  [[nodiscard]] write begin(std::size_t first_cell, std::size_t cells, bool is_discard);
  /// Returns true if a read that began at `read_begun` must not return the data of `earlier`,
  /// because `later` has replaced it.
  [[nodiscard]] bool replaces(const write_record& later, const write_record& earlier,
                              moment read_begun) const;
  void prune(cell& c) const;
  [[nodiscard]] std::string check_word(std::uint64_t word, std::size_t index,
                                       moment read_begun) const;
  [[nodiscard]] std::string history_of(std::size_t index) const;

  mutable std::mutex mutex_;
  moment now_ = 1;
  std::vector<cell> cells_;
  std::vector<write> not_durable_;  ///< completed writes that the next flush covers
  std::multiset<moment> reads_;     ///< when the reads in flight began
  moment last_cut_end_ = 0;
  bool cutting_ = false;
  bool lost_ = false;
};

}  // namespace xenpv::blkfront
