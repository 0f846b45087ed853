#include "xenpv/base/log.hpp"

#include <fmt/format.h>
#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/sink.h>
#include <unistd.h>

#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/log_output.hpp"
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
    for (const char c : std::string_view(message.payload.data(), message.payload.size())) {
      if (c == '"' || c == '\\')
        text += {'\\', c};
      else if (static_cast<unsigned char>(c) < 0x20)
        text += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
      else
        text += c;
    }
    const auto safe = printable_json(text);
    out.append(safe.data(), safe.data() + safe.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<json_message_flag>();
  }
};

/// %P: the message as one line that is safe for a terminal. Messages contain text from clients,
/// from backends and from xenstore.
class printable_message_flag final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&,
              spdlog::memory_buf_t& out) override {
    const auto safe = printable({message.payload.data(), message.payload.size()});
    out.append(safe.data(), safe.data() + safe.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<printable_message_flag>();
  }
};

std::unique_ptr<spdlog::pattern_formatter> make_formatter(const std::string& pattern) {
  auto out = std::make_unique<spdlog::pattern_formatter>();
  out->add_flag<json_message_flag>('J').add_flag<printable_message_flag>('P');
  out->set_pattern(pattern);
  return out;
}

/// On a terminal, a message overwrites any progress line.
std::string text_pattern() {
  return std::string(can_redraw(STDERR_FILENO) ? wipe_line : "") + "%n: %l: %P";
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

log_level from_spdlog(spdlog::level::level_enum level) {
  if (level >= spdlog::level::err) return log_level::error;
  if (level == spdlog::level::warn) return log_level::warning;
  return level == spdlog::level::info ? log_level::info : log_level::debug;
}

/// Formats messages and passes them to log_output.hpp. The mutex is not held while a message is
/// written, so that a thread may format while another one waits for a reader.
class output_sink final : public spdlog::sinks::sink {
 public:
  void log(const spdlog::details::log_msg& message) override {
    const auto line = format(message);
    write_log({.level = from_spdlog(message.level),
               .line = {line.data(), line.size()},
               .text = printable({message.payload.data(), message.payload.size()})});
  }
  void flush() override {}
  void set_pattern(const std::string& pattern) override { set_formatter(make_formatter(pattern)); }
  void set_formatter(std::unique_ptr<spdlog::formatter> formatter) override {
    const std::lock_guard lock(mutex_);
    formatter_ = std::move(formatter);
  }
  spdlog::memory_buf_t format(const spdlog::details::log_msg& message) {
    const std::lock_guard lock(mutex_);
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    return line;
  }

 private:
  std::mutex mutex_;
  std::unique_ptr<spdlog::formatter> formatter_ = std::make_unique<spdlog::pattern_formatter>();
};

std::shared_ptr<spdlog::logger> make_logger(std::string_view program) {
  auto logger =
      std::make_shared<spdlog::logger>(std::string(program), std::make_shared<output_sink>());
  // spdlog's own handler writes to stderr on the calling thread, which might block.
  logger->set_error_handler([](const std::string&) {});
  return logger;
}

std::shared_ptr<spdlog::logger>& current() {
  // Never destroyed: destructors that run after main() also log.
  static auto& logger = *new std::shared_ptr<spdlog::logger>([] {
    auto fresh = make_logger("xenpv");
    fresh->set_formatter(make_formatter("%n: %l: %P"));
    fresh->set_level(spdlog::level::warn);
    return fresh;
  }());
  return logger;
}

}  // namespace

void set_up_log(std::string_view program, log_level level, log_format format) {
  auto logger = make_logger(program);
  logger->set_formatter(make_formatter(
      format == log_format::json
          ? R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l","program":"%n","message":"%J"})"
          : text_pattern()));
  logger->set_level(to_spdlog(level));
  const auto sink = std::static_pointer_cast<output_sink>(logger->sinks().front());
  set_line_format([sink, name = std::string(program)](log_level severity, std::string_view text) {
    const auto line = sink->format({name, to_spdlog(severity), {text.data(), text.size()}});
    return std::string(line.data(), line.size());
  });
  current() = std::move(logger);
}

void log_to_syslog_too(std::string_view program) {
  add_syslog(std::string(program));
}

void logger::write(log_level level, fmt::string_view format, fmt::format_args values) noexcept {
  const auto spdlog_level = to_spdlog(level);
  if (!current()->should_log(spdlog_level)) return;
  try {
    const auto text = fmt::vformat(format, values);
    current()->log(spdlog_level, spdlog::string_view_t(text.data(), text.size()));
  } catch (const std::exception& e) {
    // A message that cannot be formatted must not terminate the caller.
    current()->error("cannot format a message: {}", e.what());
  }
}

logger& log() {
  static logger the_logger;
  return the_logger;
}

}  // namespace xenpv
