// Figures of a running measurement. The measuring thread owns the object and sets it; any thread
// may read, without locks and without delaying the measurement. The results of a measurement do not
// come from here.
#pragma once

#include <atomic>
#include <cstdint>

namespace xenpv::probe {

/// The figures at one time. Times are in nanoseconds.
struct live_snapshot {
  std::uint64_t samples = 0;
  std::uint64_t lost = 0;  ///< lost periods
  std::uint64_t min = 0;
  std::uint64_t last = 0;
  std::uint64_t mean = 0;
  std::uint64_t max = 0;
};

class alignas(64) live_figures {
 public:
  /// Only for the measuring thread.
  void set(const live_snapshot& figures) noexcept {
    constexpr auto order = std::memory_order_relaxed;
    lost_.store(figures.lost, order);
    min_.store(figures.min, order);
    last_.store(figures.last, order);
    mean_.store(figures.mean, order);
    max_.store(figures.max, order);
    samples_.store(figures.samples, std::memory_order_release);
  }

  /// Reads the figures one by one, so some may already be from the next set().
  [[nodiscard]] live_snapshot read() const noexcept {
    constexpr auto order = std::memory_order_relaxed;
    return {.samples = samples_.load(std::memory_order_acquire),
            .lost = lost_.load(order),
            .min = min_.load(order),
            .last = last_.load(order),
            .mean = mean_.load(order),
            .max = max_.load(order)};
  }

 private:
  std::atomic<std::uint64_t> samples_ = 0;
  std::atomic<std::uint64_t> lost_ = 0;
  std::atomic<std::uint64_t> min_ = 0;
  std::atomic<std::uint64_t> last_ = 0;
  std::atomic<std::uint64_t> mean_ = 0;
  std::atomic<std::uint64_t> max_ = 0;
};

}  // namespace xenpv::probe
