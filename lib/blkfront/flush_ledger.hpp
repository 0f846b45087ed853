// Detects whether a lost backend may have lost unflushed writes. Counts each queue's completed
// writes and how many of them a flush has covered.
//
// Shared by the queues of one device across its connections. Each queue counts on its own thread; a
// flush on any queue covers the completed writes of all queues, so the counts are atomic.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace xenpv::blkfront {

class flush_ledger {
 public:
  /// Each queue's number of completed writes at the time of a flush.
  using snapshot = std::vector<std::uint64_t>;

  explicit flush_ledger(std::size_t queues) : size_(queues), queues_(new counts[queues]) {}

  /// Counts a successful, unflushed write. Call on the queue's thread.
  void write_answered(std::size_t queue) noexcept {
    auto& answered = queues_[queue].answered;
    answered.store(answered.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }
  /// Returns the writes that a flush sent now would cover.
  [[nodiscard]] snapshot covered() const {
    snapshot out(size_);
    for (std::size_t i = 0; i < size_; ++i)
      out[i] = queues_[i].answered.load(std::memory_order_acquire);
    return out;
  }
  /// Call when a flush that covers these writes has succeeded.
  void flushed(const snapshot& covered) noexcept {
    for (std::size_t i = 0; i < covered.size(); ++i) {
      auto& done = queues_[i].flushed;
      auto before = done.load();
      while (before < covered[i] && !done.compare_exchange_weak(before, covered[i])) {
      }
    }
  }
  /// Call on the queue's thread, after the last response, when the backend may have lost its cache.
  /// Returns true if this queue had unflushed writes; the next flush of every queue must then fail.
  bool lose(std::size_t queue) noexcept {
    auto& own = queues_[queue];
    const auto answered = own.answered.load();
    if (own.flushed.exchange(answered) >= answered) return false;
    ++losses_;
    return true;
  }
  /// Whether writes were lost and this queue has not yet reported that by failing a flush. Until a
  /// flush has failed, every submitted flush must fail.
  [[nodiscard]] bool is_in_doubt(std::size_t queue) const noexcept {
    return queues_[queue].reported.load(std::memory_order_relaxed) != losses_.load();
  }
  /// Call when this queue has failed a flush because of all writes lost so far.
  void report(std::size_t queue) noexcept {
    queues_[queue].reported.store(losses_.load(), std::memory_order_relaxed);
  }

 private:
  /// One cache line per queue because every write updates the counts.
  struct alignas(64) counts {
    std::atomic<std::uint64_t> answered{};
    std::atomic<std::uint64_t> flushed{};
    std::atomic<std::uint64_t>
        reported{};  ///< value of losses_ when a flush of this queue last failed
  };
  std::size_t size_;
  std::unique_ptr<counts[]> queues_;
  std::atomic<std::uint64_t> losses_{};
};

}  // namespace xenpv::blkfront
