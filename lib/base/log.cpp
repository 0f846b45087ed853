#include "xenpv/base/log.hpp"

#include <fmt/format.h>
#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <string_view>

#include "base/terminal.hpp"
#include "base/utf8.hpp"

namespace xenpv {
namespace {

/// %J: the message as a JSON string. Needed because spdlog does not escape messages.
class json_message_flag final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&,
              spdlog::memory_buf_t& out) override {
    std::string text;
    std::string_view rest(message.payload.data(), message.payload.size());
    while (!rest.empty()) {
      const auto length = utf8_length(rest);
      const char c = rest.front();
      if (c == '"' || c == '\\') {
        text += '\\';
        text += c;
      } else if (length == 0) {
        text += "\\ufffd";  // the replacement character, for invalid UTF-8
      } else if (static_cast<unsigned char>(c) < 0x20) {
        text += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
      } else {
        text += rest.substr(0, length);
      }
      rest.remove_prefix(length == 0 ? 1 : length);
    }
    out.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<json_message_flag>();
  }
};

/// On a terminal, a message overwrites any progress line.
std::string text_pattern() {
  return std::string(can_redraw(STDERR_FILENO) ? wipe_line : "") + "%n: %l: %v";
}

std::shared_ptr<spdlog::logger> make_logger(std::string_view program) {
  return std::make_shared<spdlog::logger>(std::string(program),
                                          std::make_shared<spdlog::sinks::stderr_sink_mt>());
}

std::shared_ptr<spdlog::logger>& current() {
  // Never destroyed: destructors that run after main() also log.
  static auto& logger = *new std::shared_ptr<spdlog::logger>([] {
    auto fresh = make_logger("xenpv");
    fresh->set_pattern("%n: %l: %v");
    fresh->set_level(spdlog::level::warn);
    return fresh;
  }());
  return logger;
}

spdlog::level::level_enum to_spdlog(log_level level) {
  switch (level) {
    case log_level::error:
      return spdlog::level::err;
    case log_level::warning:
      return spdlog::level::warn;
    case log_level::info:
      return spdlog::level::info;
    case log_level::debug:
      return spdlog::level::debug;
  }
  return spdlog::level::info;
}

}  // namespace

void set_up_log(std::string_view program, log_level level, log_format format) {
  auto logger = make_logger(program);
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  formatter->add_flag<json_message_flag>('J');
  formatter->set_pattern(
      format == log_format::json
          ? R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l","program":"%n","message":"%J"})"
          : text_pattern());
  logger->set_formatter(std::move(formatter));
  logger->set_level(to_spdlog(level));
  logger->flush_on(spdlog::level::debug);
  current() = std::move(logger);
}

void log_to_syslog_too(std::string_view program) {
  // syslog has its own fields for time, program and level.
  constexpr bool with_pattern = false;
  current()->sinks().push_back(std::make_shared<spdlog::sinks::syslog_sink_mt>(
      std::string(program), LOG_PID, LOG_DAEMON, with_pattern));
}

void logger::write(log_level level, fmt::string_view format, fmt::format_args values) noexcept {
  const auto spdlog_level = to_spdlog(level);
  if (!current()->should_log(spdlog_level)) return;
  try {
    const auto text = fmt::vformat(format, values);
    current()->log(spdlog_level, spdlog::string_view_t(text.data(), text.size()));
  } catch (const std::exception& e) {
    // A message that cannot be formatted must not terminate the caller.
    std::fprintf(stderr, "cannot log: %s\n", e.what());
  }
}

logger& log() {
  static logger the_logger;
  return the_logger;
}

}  // namespace xenpv
