// Rate-limits one kind of message to one per interval. Counts the suppressed messages and reports
// the count. For messages that an unauthenticated client can cause at any rate.
//
// Owned by the component that logs, on one thread. Does not log itself: the owner supplies the
// function that writes, and calls flush() from a timer.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace xenpv {

class limited_log {
 public:
  using time_point = std::chrono::steady_clock::time_point;
  using writer = std::function<void(std::string_view)>;

  /// `kind` completes "12 more ...": "clients refused".
  limited_log(std::string kind, writer write,
              std::chrono::nanoseconds interval = std::chrono::seconds(1))
      : kind_(std::move(kind)), write_(std::move(write)), interval_(interval) {}

  /// Writes `text`, unless a message was written less than one interval before `now`. Appends the
  /// number of messages withheld since then.
  void write(std::string_view text, time_point now);
  /// Writes the number of messages withheld and the last of them, if the interval is over or
  /// `is_final`.
  void flush(time_point now, bool is_final = false);

  /// When to call flush(); nullopt if no message is withheld.
  [[nodiscard]] std::optional<time_point> flush_at() const noexcept {
    return withheld_ == 0 ? std::nullopt : std::optional(next_);
  }

 private:
  std::string kind_;
  writer write_;
  std::chrono::nanoseconds interval_;
  time_point next_ = time_point::min();
  std::uint64_t withheld_ = 0;
  std::string last_;  ///< of the messages withheld
};

}  // namespace xenpv
