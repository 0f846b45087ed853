// Sends messages to the system's log daemon (/dev/log). Unlike syslog(3), a message that the daemon
// does not take within a moment is dropped: a daemon may wait for the very disk that this process
// serves. Used by one thread at a time. Does not format or filter messages.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

#include "xenpv/base/unique_fd.hpp"

namespace xenpv {

class syslog_socket {
 public:
  /// `program` precedes each message. Connects when the first message is sent.
  explicit syslog_socket(std::string program, std::string path = "/dev/log");

  /// Sends a message with one of syslog's severities, such as LOG_ERR. Waits at most `limit`; does
  /// not wait again while the daemon is stalled. Reports dropped messages with the next message
  /// that the daemon accepts. Reconnects to a restarted daemon. Never throws.
  void send(int severity, std::string_view text, std::chrono::milliseconds limit) noexcept;
  /// Closes the connection; the next message opens a new one.
  void disconnect() noexcept { socket_.reset(); }
  /// The number of messages dropped since the last report.
  [[nodiscard]] std::size_t dropped() const noexcept { return dropped_; }

 private:
  [[nodiscard]] bool connect();
  [[nodiscard]] bool try_send(int severity, std::string_view text, std::chrono::milliseconds limit);

  std::string program_;
  std::string path_;
  unique_fd socket_;
  bool stalled_ = false;  ///< the daemon did not take the last message in time
  std::size_t dropped_ = 0;
};

}  // namespace xenpv
