#include "sim/recovery_oracle.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

namespace xenpv::blkfront {
namespace {

/// Shared by all disks and seeds, so that data from another disk is recognised as wrong.
std::atomic<std::uint32_t> last_number = 0;

constexpr std::size_t word_size = sizeof(std::uint64_t);
/// A cell's list of writes is pruned when it exceeds this length.
constexpr std::size_t many_writes = 6;

std::uint64_t word_of(std::size_t cell, std::uint32_t number) {
  return std::uint64_t{cell} << 32 | number;
}

}  // namespace

struct recovery_oracle::write_record {
  std::uint32_t number = 0;
  std::size_t first_cell = 0;
  std::size_t cells = 0;
  moment begun = 0;
  moment ended = 0;  ///< 0: in flight
  bool is_discard = false;
  bool succeeded = false;
  bool is_durable = false;
};

recovery_oracle::write recovery_oracle::begin(std::size_t first_cell, std::size_t cells,
                                              bool is_discard) {
  const std::lock_guard lock(mutex_);
  auto out = std::make_shared<write_record>();
  out->number = ++last_number;
  out->first_cell = first_cell;
  out->cells = cells;
  out->begun = ++now_;
  out->is_discard = is_discard;
  for (auto i = first_cell; i < first_cell + cells; ++i)
    cells_[i].writes.push_back(out);
  return out;
}

recovery_oracle::write recovery_oracle::begin_write(std::size_t first_cell, std::size_t cells) {
  return begin(first_cell, cells, false);
}

recovery_oracle::write recovery_oracle::begin_discard(std::size_t first_cell, std::size_t cells) {
  return begin(first_cell, cells, true);
}

void recovery_oracle::end_write(const write& record, outcome result) {
  const std::lock_guard lock(mutex_);
  record->ended = ++now_;
  // A successful discard may leave the old data, so it does not replace anything.
  record->succeeded = result != outcome::failed && !record->is_discard;
  record->is_durable = result == outcome::durable && !record->is_discard;
  if (record->succeeded && !record->is_durable) not_durable_.push_back(record);
  for (auto i = record->first_cell; i < record->first_cell + record->cells; ++i)
    if (cells_[i].writes.size() > many_writes) prune(cells_[i]);
}

recovery_oracle::moment recovery_oracle::begin_flush() {
  const std::lock_guard lock(mutex_);
  return ++now_;
}

void recovery_oracle::end_flush(moment begun, bool succeeded) {
  const std::lock_guard lock(mutex_);
  ++now_;
  if (!succeeded) return not_durable_.clear();
  const auto covered = std::partition(not_durable_.begin(), not_durable_.end(),
                                      [begun](const write& w) { return w->ended >= begun; });
  for (auto w = covered; w != not_durable_.end(); ++w)
    (*w)->is_durable = true;
  not_durable_.erase(covered, not_durable_.end());
}

recovery_oracle::moment recovery_oracle::begin_read() {
  const std::lock_guard lock(mutex_);
  reads_.insert(++now_);
  return now_;
}

void recovery_oracle::begin_power_cut() {
  const std::lock_guard lock(mutex_);
  lost_ = true;
  cutting_ = true;
}

void recovery_oracle::end_power_cut() {
  const std::lock_guard lock(mutex_);
  last_cut_end_ = ++now_;
  cutting_ = false;
}

void recovery_oracle::note_loss() {
  const std::lock_guard lock(mutex_);
  lost_ = true;
}

bool recovery_oracle::may_fail_flush() const {
  const std::lock_guard lock(mutex_);
  return lost_;
}

bool recovery_oracle::replaces(const write_record& later, const write_record& earlier,
                               moment read_begun) const {
  if (earlier.ended == 0 || earlier.ended >= later.begun) return false;
  if (!later.succeeded || later.ended >= read_begun) return false;
  return later.is_durable || (!cutting_ && last_cut_end_ < later.begun);
}

/// Drops writes that no read may return any more, even after a power cut.
void recovery_oracle::prune(cell& c) const {
  const auto oldest_read = reads_.empty() ? now_ + 1 : *reads_.begin();
  const auto is_replaced = [&](const write& earlier) {
    return std::any_of(c.writes.begin(), c.writes.end(), [&](const write& later) {
      return later->is_durable && replaces(*later, *earlier, oldest_read);
    });
  };
  const auto replaced = [&] {
    std::vector<write> out;
    std::copy_if(c.writes.begin(), c.writes.end(), std::back_inserter(out), is_replaced);
    return out;
  }();
  std::erase_if(c.writes, [&](const write& w) {
    return std::find(replaced.begin(), replaced.end(), w) != replaced.end();
  });
  c.is_known = c.is_known || !replaced.empty();
}

/// Lists the writes to all cells of the cell's 4 KiB block, because the frontend merges unaligned
/// writes into whole sectors.
std::string recovery_oracle::history_of(std::size_t index) const {
  constexpr std::size_t beside = 32;
  std::set<write, decltype([](const write& a, const write& b) { return a->number < b->number; })>
      writes;
  for (auto i = index / beside * beside; i < std::min((index / beside + 1) * beside, cells_.size());
       ++i)
    writes.insert(cells_[i].writes.begin(), cells_[i].writes.end());
  std::string out;
  for (const auto& w : writes)
    out += fmt::format("; {} {} of cells {} to {}: from {} to {}{}{}",
                       w->is_discard ? "discard" : "write", w->number, w->first_cell,
                       w->first_cell + w->cells, w->begun,
                       w->ended == 0 ? std::string("now") : fmt::format("{}", w->ended),
                       w->ended != 0 && !w->succeeded && !w->is_discard ? ", failed" : "",
                       w->is_durable ? ", flushed" : "");
  if (last_cut_end_ != 0) out += fmt::format("; power was cut until {}", last_cut_end_);
  return out;
}

std::string recovery_oracle::check_word(std::uint64_t word, std::size_t index,
                                        moment read_begun) const {
  const auto& c = cells_[index];
  write_record before_all;
  before_all.ended = 1;
  bool is_unwritten = !c.is_known;
  std::string problem = fmt::format("holds {:#x}, which is not the data of an allowed write", word);
  for (const auto& w : c.writes) {
    if (is_unwritten && replaces(*w, before_all, read_begun)) is_unwritten = false;
    // Zeros may be the result of any of several discards.
    if (word != (w->is_discard ? 0 : word_of(index, w->number))) continue;
    const auto later = std::find_if(c.writes.begin(), c.writes.end(), [&](const write& other) {
      return replaces(*other, *w, read_begun);
    });
    if (later == c.writes.end()) return {};
    problem = fmt::format("holds data of {} {}, although write {} replaced it",
                          w->is_discard ? "discard" : "write", w->number, (*later)->number);
  }
  return is_unwritten ? std::string() : problem;
}

std::string recovery_oracle::end_read(moment begun, std::size_t first_cell,
                                      std::span<const std::byte> bytes) {
  const std::lock_guard lock(mutex_);
  std::string problem;
  std::uint64_t checked = 0;
  for (std::size_t at = 0; at + word_size <= bytes.size() && problem.empty(); at += word_size) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, sizeof word);
    if (at % cell_size != 0 && word == checked) continue;
    checked = word;
    const auto index = first_cell + at / cell_size;
    problem = check_word(word, index, begun);
    if (!problem.empty())
      problem = fmt::format("cell {} (byte {}): {} (a read since {}{})", index,
                            index * cell_size + at % cell_size, problem, begun, history_of(index));
  }
  reads_.erase(reads_.find(begun));
  return problem;
}

void recovery_oracle::fill(std::span<std::byte> bytes, std::size_t first_cell,
                           const write& record) {
  for (std::size_t at = 0; at + word_size <= bytes.size(); at += word_size) {
    const auto word = word_of(first_cell + at / cell_size, record->number);
    std::memcpy(bytes.data() + at, &word, sizeof word);
  }
}

}  // namespace xenpv::blkfront
