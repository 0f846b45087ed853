// Log set-up shared by the library and the apps: words for people on stderr, or one JSON object a
// line. Data never goes through the log. The library logs through log() only; it never sets it up.
#pragma once

#include <spdlog/logger.h>

#include <string_view>

namespace xenpv {

enum class log_format { text, json };
enum class log_level { error, warning, info, debug };

/// Installs the process-wide logger: "<program>: <level>: <message>" on stderr. Call once, in main,
/// before any thread starts.
void set_up_log(std::string_view program, log_level level = log_level::info,
                log_format format = log_format::text);

/// From now on the log goes to syslog(3), too: for a process that leaves its terminal. As with
/// set_up_log, before any thread starts.
void log_to_syslog_too(std::string_view program);

/// The process-wide logger; a silent-below-warning default until set_up_log ran. Thread-safe.
[[nodiscard]] spdlog::logger& log();

}  // namespace xenpv
