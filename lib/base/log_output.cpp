#include "base/log_output.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <syslog.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <mutex>
#include <optional>
#include <utility>

#include "base/log_queue.hpp"
#include "base/syslog_socket.hpp"

namespace xenpv {
namespace {

using std::chrono::milliseconds;

/// How long to wait for a reader that has stopped reading, before messages are dropped.
constexpr milliseconds stall_limit(250);
/// How long the end of a background_log waits for the queued messages.
constexpr milliseconds end_limit(1000);
/// How often a thread that waits for a reader checks whether it should give up.
constexpr milliseconds poll_interval(100);

int severity_of(log_level level) noexcept {
  switch (level) {
    case log_level::error:
      return LOG_ERR;
    case log_level::warning:
      return LOG_WARNING;
    case log_level::info:
      return LOG_INFO;
    case log_level::debug:
      return LOG_DEBUG;
  }
  return LOG_INFO;
}

/// True if a write of PIPE_BUF bytes to stderr would not block: it succeeds or fails immediately.
bool stderr_is_ready(int limit) noexcept {
  pollfd entry{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
  return ::poll(&entry, 1, limit) != 0;
}

/// Writes all of `text` to stderr; calls `may_write` before each part. Stops when it returns false,
/// and after an error, because the error cannot be reported anywhere.
template <class Function>
bool write_stderr(std::string_view text, Function may_write) noexcept {
  while (!text.empty()) {
    if (!may_write()) return false;
    // A pipe that is ready takes this much without blocking.
    const auto count =
        ::write(STDERR_FILENO, text.data(), std::min<std::size_t>(text.size(), PIPE_BUF));
    if (count >= 0)
      text.remove_prefix(static_cast<std::size_t>(count));
    else if (errno == EAGAIN)  // another process has made the shared description non-blocking
      static_cast<void>(stderr_is_ready(static_cast<int>(poll_interval.count())));
    else if (errno != EINTR)
      return true;
  }
  return true;
}

/// The log's destinations and the thread that writes to them.
class output {
 public:
  void write(const log_message& message) noexcept;
  void set_format(line_format format) { format_ = std::move(format); }
  [[nodiscard]] std::string format(log_level level, std::string_view text) const {
    return format_(level, text);
  }
  void add_syslog(std::string program) {
    const std::lock_guard lock(syslog_mutex_);
    syslog_.emplace(std::move(program));
  }
  void limit_waits() noexcept {
    waits_are_limited_ = true;
    if (syslog_) syslog_->disconnect();
  }
  bool flush(milliseconds limit);
  void start_thread() noexcept;
  void stop_thread() noexcept;

 private:
  std::shared_ptr<log_queue> queue() {
    const std::lock_guard lock(mutex_);
    return queue_;
  }
  void write_here(const log_message& message);
  void write_waiting_briefly(const log_message& message);
  void send_to_syslog(const log_message& message);

  std::mutex mutex_;  ///< protects queue_ and users_; never held during I/O
  std::shared_ptr<log_queue> queue_;
  unsigned users_ = 0;
  /// Held while a calling thread writes, to keep the messages in order and the lines whole.
  std::mutex writing_;
  std::atomic<bool> waits_are_limited_ = false;
  bool stalled_ = false;  ///< stderr was not read in time
  std::size_t dropped_ = 0;
  std::mutex syslog_mutex_;
  std::optional<syslog_socket> syslog_;
  line_format format_ = [](log_level, std::string_view text) { return fmt::format("{}\n", text); };
};

void output::write(const log_message& message) noexcept {
  try {
    if (const auto active = queue()) {
      active->push(message);
      return;
    }
    const std::lock_guard lock(writing_);
    if (waits_are_limited_)
      write_waiting_briefly(message);
    else
      write_here(message);
  } catch (const std::exception&) {
    // A message that cannot be logged must not terminate the caller.
  }
}

void output::write_here(const log_message& message) {
  static_cast<void>(write_stderr(message.line, [] { return true; }));
  send_to_syslog(message);
}

void output::write_waiting_briefly(const log_message& message) {
  const auto is_ready = [this] {
    stalled_ = !stderr_is_ready(stalled_ ? 0 : static_cast<int>(stall_limit.count()));
    return !stalled_;
  };
  if (dropped_ > 0) {
    const auto text = describe_dropped_messages(dropped_);
    if (write_stderr(format_(log_level::warning, text), is_ready)) dropped_ = 0;
  }
  if (dropped_ > 0 || !write_stderr(message.line, is_ready)) ++dropped_;
  send_to_syslog(message);
}

void output::send_to_syslog(const log_message& message) {
  if (message.text.empty()) return;
  const std::lock_guard lock(syslog_mutex_);
  if (syslog_) syslog_->send(severity_of(message.level), message.text, stall_limit);
}

bool output::flush(milliseconds limit) {
  const auto active = queue();
  return !active || active->flush(limit);
}

void output::start_thread() noexcept {
  const std::lock_guard lock(mutex_);
  if (users_++ > 0) return;
  waits_are_limited_ = true;
  try {
    const auto write = [this](const log_message& message,
                              const std::function<bool()>& is_abandoned) {
      const auto wait = [&] {
        while (!stderr_is_ready(static_cast<int>(poll_interval.count())))
          if (is_abandoned()) return false;
        return !is_abandoned();
      };
      if (write_stderr(message.line, wait)) send_to_syslog(message);
    };
    const auto fresh = std::make_shared<log_queue>(write, format_);
    log_queue::start(fresh);
    queue_ = fresh;
  } catch (const std::exception&) {
    // Without the thread, the calling threads write.
  }
}

void output::stop_thread() noexcept {
  std::shared_ptr<log_queue> last;
  {
    const std::lock_guard lock(mutex_);
    if (--users_ > 0 || !queue_) return;
    last = queue_;
  }
  // Messages of other threads are still queued, so that they stay in order.
  try {
    last->stop(end_limit);
  } catch (const std::exception&) {
    // The thread keeps running until the process exits.
  }
  const std::lock_guard lock(mutex_);
  if (users_ == 0) queue_.reset();
}

output& the_output() {
  // Never destroyed: destructors that run after main() also log, and a thread may be left.
  static auto& instance = *new output;
  return instance;
}

}  // namespace

std::string describe_dropped_messages(std::size_t count) {
  return fmt::format("{} {} dropped: the reader of stderr did not keep up", count,
                     count == 1 ? "message" : "messages");
}

void write_log(const log_message& message) noexcept {
  the_output().write(message);
}

void write_message(std::string_view text) noexcept {
  if (text.empty()) return;
  const auto end = text.find_last_not_of('\n');
  const auto without_newline = text.substr(0, end == std::string_view::npos ? 0 : end + 1);
  the_output().write({log_level::error, text, without_newline});
}

void set_line_format(line_format format) {
  the_output().set_format(std::move(format));
}

std::string format_log_line(log_level level, std::string_view text) {
  return the_output().format(level, text);
}

void add_syslog(std::string program) {
  the_output().add_syslog(std::move(program));
}

bool flush_log(milliseconds limit) noexcept {
  try {
    return the_output().flush(limit);
  } catch (const std::exception&) {
    return false;
  }
}

void limit_log_waits() noexcept {
  the_output().limit_waits();
}

background_log::background_log() noexcept {
  the_output().start_thread();
}

background_log::~background_log() {
  the_output().stop_thread();
}

}  // namespace xenpv
