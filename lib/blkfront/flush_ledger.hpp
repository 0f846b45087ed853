// Tracks the unflushed writes of a device, to detect the loss of a backend with unflushed writes.
// Counts the completed writes of each queue and how many of them a flush has covered.
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
  /// The number of completed writes of each queue at the time of a flush.
  using snapshot = std::vector<std::uint64_t>;

  explicit flush_ledger(std::size_t queues) : size_(queues), queues_(new counts[queues]) {}

  /// Counts a successful, unflushed write. Call on the queue's thread.
  void write_answered(std::size_t queue) noexcept {
    auto& answered = queues_[queue].answered;
    answered.store(answered.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }
  /// The writes that a flush would cover if it were sent now.
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
  /// Call when the backend may have lost its cache, on the queue's thread, after the last response.
  /// Returns true if the cache contained writes of this queue; the next flush of every queue must
  /// then fail.
  bool lose(std::size_t queue) noexcept {
    auto& own = queues_[queue];
    const auto answered = own.answered.load();
    if (own.flushed.exchange(answered) >= answered) return false;
    ++losses_;
    return true;
  }
  /// Whether writes were lost and no flush of this queue has failed because of that yet. Every
  /// flush submitted until one has failed must also fail.
  [[nodiscard]] bool is_in_doubt(std::size_t queue) const noexcept {
    return queues_[queue].reported.load(std::memory_order_relaxed) != losses_.load();
  }
  /// Call when a flush of this queue has failed because of all losses so far.
  void report(std::size_t queue) noexcept {
    queues_[queue].reported.store(losses_.load(), std::memory_order_relaxed);
  }

 private:
  /// Each queue has its own cache line, because every write updates it.
  struct alignas(64) counts {
    std::atomic<std::uint64_t> answered{};
    std::atomic<std::uint64_t> flushed{};
    std::atomic<std::uint64_t>
        reported{};  ///< losses because of which a flush of this queue has failed
  };
  std::size_t size_;
  std::unique_ptr<counts[]> queues_;
  std::atomic<std::uint64_t> losses_{};
};

}  // namespace xenpv::blkfront
