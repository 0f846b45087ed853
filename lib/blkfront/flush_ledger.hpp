// What a device's flushes have covered: counts the writes that were answered through each queue and
// those that a flush has made durable, so that a backend lost with unflushed writes is noticed.
//
// Shared by the queues of one device over all its connections. Each queue counts on its own thread;
// a flush on any queue covers the answered writes of all of them, so the counts are atomic.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace xenpv::blkfront {

class flush_ledger {
 public:
  /// Answered writes of each queue when a flush was sent.
  using snapshot = std::vector<std::uint64_t>;

  explicit flush_ledger(std::size_t queues) : size_(queues), queues_(new counts[queues]) {}

  /// A write was answered OK without having been flushed. On the queue's thread.
  void write_answered(std::size_t queue) noexcept {
    auto& answered = queues_[queue].answered;
    answered.store(answered.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }
  /// What a flush that is sent now covers.
  [[nodiscard]] snapshot covered() const {
    snapshot out(size_);
    for (std::size_t i = 0; i < size_; ++i)
      out[i] = queues_[i].answered.load(std::memory_order_acquire);
    return out;
  }
  /// A flush that covers these writes was answered OK.
  void flushed(const snapshot& covered) noexcept {
    for (std::size_t i = 0; i < covered.size(); ++i) {
      auto& done = queues_[i].flushed;
      auto before = done.load();
      while (before < covered[i] && !done.compare_exchange_weak(before, covered[i])) {
      }
    }
  }
  /// The backend may have lost its cache. True: writes of this queue went with it, and the next
  /// flush of every queue has to say so. On the queue's thread, after its last answer.
  bool lose(std::size_t queue) noexcept {
    auto& own = queues_[queue];
    const auto answered = own.answered.load();
    if (own.flushed.exchange(answered) >= answered) return false;
    ++losses_;
    return true;
  }
  /// Writes were lost and no flush of this queue has said so: every flush submitted until one does
  /// has to fail.
  [[nodiscard]] bool is_in_doubt(std::size_t queue) const noexcept {
    return queues_[queue].reported.load(std::memory_order_relaxed) != losses_.load();
  }
  /// A flush of this queue has failed because of the losses so far.
  void report(std::size_t queue) noexcept {
    queues_[queue].reported.store(losses_.load(), std::memory_order_relaxed);
  }

 private:
  /// A queue's own cache line: it is written with every write.
  struct alignas(64) counts {
    std::atomic<std::uint64_t> answered{};
    std::atomic<std::uint64_t> flushed{};
    std::atomic<std::uint64_t> reported{};  ///< losses that a flush of this queue has failed for
  };
  std::size_t size_;
  std::unique_ptr<counts[]> queues_;
  std::atomic<std::uint64_t> losses_{};
};

}  // namespace xenpv::blkfront
