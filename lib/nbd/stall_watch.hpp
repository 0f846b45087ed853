// Decides when a client has made no progress for too long. Pure: the session counts bytes and
// supplies the time, a few times per limit.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace xenpv::nbd {

/// Watches one direction of a connection.
class stall_watch {
 public:
  using time_point = std::chrono::steady_clock::time_point;

  /// `bytes`: total bytes that the client has received or sent; `is_due`: the server is waiting for
  /// the client. Returns true if it has waited for `limit` while the client transferred fewer than
  /// `least` bytes. The time is measured from the first check during the wait, so the result is
  /// late by at most the interval between two checks.
  [[nodiscard]] bool is_stalled(bool is_due, std::uint64_t bytes, time_point now,
                                std::chrono::nanoseconds limit, std::uint64_t least = 1) noexcept {
    if (!is_due || !was_due_ || bytes - bytes_ >= least) {
      since_ = now;
      bytes_ = bytes;
    }
    was_due_ = is_due;
    return is_due && now - since_ >= limit;
  }

  /// Returns how often to check for stalls with a limit of `limit`.
  [[nodiscard]] static std::chrono::nanoseconds interval(std::chrono::nanoseconds limit) noexcept {
    return std::min<std::chrono::nanoseconds>(limit / 8, std::chrono::seconds(2));
  }

 private:
  bool was_due_ = false;
  std::uint64_t bytes_ = 0;  ///< at `since_`
  time_point since_{};
};

}  // namespace xenpv::nbd
