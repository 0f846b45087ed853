// The bounded queue of log messages and the thread that writes them. Any thread adds messages and
// never waits for I/O; the queue's own thread writes. Owned by log_output.cpp, and by the thread
// itself if a write blocks indefinitely.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/log_output.hpp"

namespace xenpv {

class log_queue {
 public:
  /// Writes one message. Returns early, without having written it, once `is_abandoned` returns
  /// true.
  using writer = std::function<void(const log_message&, const std::function<bool()>& is_abandoned)>;

  /// The capacity, in bytes, of each of two buffers: one for queued messages and one for the
  /// messages being written.
  static constexpr std::size_t capacity = std::size_t{128} << 10U;
  static constexpr std::size_t most_messages = 2048;

  /// Both functions run on the queue's thread. `format` formats the report of dropped messages.
  log_queue(writer write, line_format format);
  log_queue(const log_queue&) = delete;
  log_queue& operator=(const log_queue&) = delete;

  /// Starts the thread of `queue`. Throws std::system_error.
  static void start(const std::shared_ptr<log_queue>& queue);
  /// Adds a message, or counts it as dropped. Never waits for a write. Never throws.
  void push(const log_message& message) noexcept;
  /// Waits until the messages so far are written, for at most `limit`. Returns whether they are.
  bool flush(std::chrono::milliseconds limit);
  /// Writes the queued messages, for at most `limit`, and ends the thread. If a write blocks, drops
  /// the messages and detaches the thread.
  void stop(std::chrono::milliseconds limit);

 private:
  struct record {
    log_level level = log_level::info;
    std::size_t line = 0;  ///< length
    std::size_t text = 0;  ///< length
  };
  struct batch {
    std::string bytes;
    std::vector<record> records;
    std::size_t dropped = 0;  ///< after the last record

    void reserve();
    void clear() noexcept;
    [[nodiscard]] bool is_empty() const noexcept { return records.empty() && dropped == 0; }
  };

  void run();
  void write(const batch& messages);
  [[nodiscard]] bool is_abandoned();

  const writer write_;
  const line_format format_;
  std::mutex mutex_;
  std::condition_variable changed_;
  batch waiting_;
  batch writing_;  ///< used by the thread without the mutex
  bool is_writing_ = false;
  bool stopping_ = false;
  bool abandoned_ = false;
  bool ended_ = false;
  pid_t thread_id_ = 0;
  std::thread thread_;
};

}  // namespace xenpv
