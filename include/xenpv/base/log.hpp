// Logging shared by the library and the apps: plain text on stderr, or one JSON object per
// line. Payload data is never logged. The library only writes to log(); main() sets it up.
#pragma once

#include <fmt/core.h>

#include <string_view>

namespace xenpv {

/// The format of a message: a line of text, or a JSON object on one line.
enum class log_format { text, json };
/// Severities, the most severe first.
enum class log_level { error, warning, info, debug };

/// Formats and writes messages at or above its level. Formatting happens only in write();
/// otherwise, every translation unit that logs would have to compile all of {fmt}. Thread-safe.
class logger {
 public:
  /// Write a message at the level in the function's name. Never throw.
  /// @{
  template <typename... T>
  void error(fmt::format_string<T...> format, const T&... values) {
    write(log_level::error, format, fmt::make_format_args(values...));
  }
  template <typename... T>
  void warn(fmt::format_string<T...> format, const T&... values) {
    write(log_level::warning, format, fmt::make_format_args(values...));
  }
  template <typename... T>
  void info(fmt::format_string<T...> format, const T&... values) {
    write(log_level::info, format, fmt::make_format_args(values...));
  }
  template <typename... T>
  void debug(fmt::format_string<T...> format, const T&... values) {
    write(log_level::debug, format, fmt::make_format_args(values...));
  }
  /// @}

  /// Drops a message below the logger's level without formatting it. Never throws.
  void write(log_level level, fmt::string_view format, fmt::format_args values) noexcept;
};

/// Installs the process-wide logger, which writes "<program>: <level>: <message>" to stderr. Call
/// once, in main, before any thread starts.
void set_up_log(std::string_view program, log_level level = log_level::info,
                log_format format = log_format::text);

/// Also sends later messages to syslog(3), for a process that detaches from its terminal. Like
/// set_up_log(), call it before any thread starts.
void log_to_syslog_too(std::string_view program);

/// The process-wide logger. Until set_up_log() is called, it writes warnings and errors only.
/// Thread-safe.
[[nodiscard]] logger& log();

}  // namespace xenpv
