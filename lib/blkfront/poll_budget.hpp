// How long to look at the ring before sleeping: bounded, and adapted to how often looking paid.
// Pure; off with a limit of 0. On a host whose CPUs are busy, looking keeps the backend from
// running, so what does not pay is given up quickly and tried again rarely.
#pragma once

#include <algorithm>
#include <cstdint>

namespace xenpv::blkfront {

class poll_budget {
 public:
  /// `limit_ns`: the longest look.
  explicit poll_budget(std::uint64_t limit_ns = 0) noexcept : limit_ns_(limit_ns) {}

  [[nodiscard]] bool is_on() const noexcept { return limit_ns_ != 0; }

  /// How long to look now, in ns; 0: sleep at once.
  [[nodiscard]] std::uint64_t begin() noexcept {
    if (skip_ > 0) {
      --skip_;
      return 0;
    }
    return limit_ns_;
  }
  /// It paid: look again the next time.
  void hit() noexcept { misses_ = 0; }
  /// It did not: with every miss in a row, sit out twice as many turns.
  void missed() noexcept {
    misses_ = std::min(misses_ + 1, most_misses);
    skip_ = (1U << misses_) - 1;
  }

 private:
  static constexpr unsigned most_misses = 10;

  std::uint64_t limit_ns_;
  unsigned misses_ = 0;
  unsigned skip_ = 0;
};

}  // namespace xenpv::blkfront
