// What a disk may contain, from what its users asked and were answered:
//  - each cell holds the value of the last answered write, or of one that was in flight together
//    with it or after it; a write that failed may have been carried out or not, but no later than
//    an answered write that was submitted after the failure;
//  - after a power cut, nothing older than the last flush that succeeded. A flush that failed
//    promises nothing, and neither does a later one for the writes answered before that failure.
//
// A cell is 128 bytes, so that writes of parts of a sector are seen; each word of it names the
// write it came from. For any thread. Does no I/O: recovery_load.hpp does, and reports to it.
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

  /// Of one disk. Until they are written, cells may hold anything.
  explicit recovery_oracle(std::size_t cells) : cells_(cells) {}

  /// A place in the order of all that is told to this oracle.
  using moment = std::uint64_t;
  struct write_record;
  using write = std::shared_ptr<write_record>;
  enum class outcome : std::uint8_t {
    done,
    durable,  ///< a write with FUA
    failed,   ///< carried out or not
  };

  /// Before its submission; its bytes are to be what fill() makes of it.
  [[nodiscard]] write begin_write(std::size_t first_cell, std::size_t cells);
  /// The same for a discard, which may leave zeros or what was there.
  [[nodiscard]] write begin_discard(std::size_t first_cell, std::size_t cells);
  void end_write(const write& what, outcome how);
  /// A flush covers the writes answered before begin_flush().
  [[nodiscard]] moment begin_flush();
  void end_flush(moment begun, bool succeeded);
  [[nodiscard]] moment begin_read();
  /// `bytes`: what was read from `first_cell` on; empty: the read failed. Returns what is wrong,
  /// with the cell's history; empty: nothing is.
  [[nodiscard]] std::string end_read(moment begun, std::size_t first_cell,
                                     std::span<const std::byte> bytes);

  /// Between the two, a volatile cache loses what it holds.
  void begin_power_cut();
  void end_power_cut();
  /// The backend is about to be lost without a word: from now on a flush may fail once.
  void note_loss();
  [[nodiscard]] bool may_fail_flush() const;

  static void fill(std::span<std::byte> bytes, std::size_t first_cell, const write& what);

 private:
  struct cell {
    std::vector<write> writes;  ///< that it may hold, or might have to
    bool is_known = false;      ///< something was written and cannot be undone
  };

  [[nodiscard]] write begin(std::size_t first_cell, std::size_t cells, bool is_discard);
  /// Whether `later` makes it impossible to find `earlier` in a read that began at `read_begun`.
  [[nodiscard]] bool replaces(const write_record& later, const write_record& earlier,
                              moment read_begun) const;
  void prune(cell& c) const;
  [[nodiscard]] std::string check_word(std::uint64_t word, std::size_t index,
                                       moment read_begun) const;
  [[nodiscard]] std::string history_of(std::size_t index) const;

  mutable std::mutex mutex_;
  moment now_ = 1;
  std::vector<cell> cells_;
  std::vector<write> not_durable_;  ///< answered, for the next flush to cover
  std::multiset<moment> reads_;     ///< in flight
  moment last_cut_end_ = 0;
  bool cutting_ = false;
  bool lost_ = false;
};

}  // namespace xenpv::blkfront
