// Writes log messages to stderr and, for a process without a terminal, to the system's log daemon.
// One output per process. By default, the calling thread writes, as in any command-line program.
// While a background_log exists, its dedicated thread writes, so that a reader of stderr that stops
// reading cannot block other threads. Does not format or filter messages; log.cpp does.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "xenpv/base/log.hpp"

namespace xenpv {

/// One message in the forms that its destinations need.
struct log_message {
  log_level level = log_level::info;
  std::string_view line;  ///< for stderr, with newline
  std::string_view text;  ///< for the log daemon, which adds time, program and level itself
};

/// Formats a line for stderr. Called on any thread.
using line_format = std::function<std::string(log_level level, std::string_view text)>;

/// Returns the text that reports dropped messages.
[[nodiscard]] std::string describe_dropped_messages(std::size_t count);

/// Writes the message, or passes it to the thread of a background_log. Never throws. Thread-safe.
void write_log(const log_message& message) noexcept;
/// Writes text for the user that is not a log message, in order with the log's messages. Never
/// throws. Thread-safe.
void write_message(std::string_view text) noexcept;

/// Sets the format of the line that reports dropped messages, and of format_log_line(). Call before
/// any thread starts.
void set_line_format(line_format format);
/// Returns the line of a message, with newline, as it appears in the log. Thread-safe.
[[nodiscard]] std::string format_log_line(log_level level, std::string_view text);
/// Also sends later messages to the log daemon. Call before any thread starts.
void add_syslog(std::string program);

/// Waits at most `limit` until all queued messages have been written. Returns true if they have.
/// Never throws. Thread-safe.
bool flush_log(std::chrono::milliseconds limit) noexcept;

/// From now on, the calling threads wait only briefly for a reader of stderr, and then drop
/// messages. For a forked process that must not be held up by its parent's log; closes the
/// connection to the log daemon, which the next message opens again. The only thread must call it.
void limit_log_waits() noexcept;

/// While such an object exists, a thread writes the messages of all other threads. Its queue is
/// bounded and allocated in advance. If the queue is full, messages are dropped and counted, and a
/// line reports their number. Nested objects share the thread.
class background_log {
 public:
  /// Starts the thread, with all signals blocked. If that fails, the calling threads write the
  /// messages, and wait as after limit_log_waits(). Do not fork without exec while it exists.
  background_log() noexcept;
  /// Writes the queued messages, for at most a second, and ends the thread. Afterwards, the calling
  /// threads write messages and wait as after limit_log_waits().
  ~background_log();
  background_log(const background_log&) = delete;
  background_log& operator=(const background_log&) = delete;
};

}  // namespace xenpv
