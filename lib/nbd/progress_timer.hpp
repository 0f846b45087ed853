// Detects that a session's client makes no progress, has disconnected, or is idle. Uses one timer
// that runs only while needed and expires a few times per limit, so that it does not slow down
// requests.
//
// Owned by a session and used on its thread. Does not close the connection.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "nbd/stall_watch.hpp"
#include "xenpv/async/asio.hpp"

namespace xenpv::nbd {

/// The state of a session.
struct session_progress {
  std::uint64_t sent = 0;        ///< bytes that the client's socket has accepted
  std::uint64_t received = 0;    ///< bytes from the client
  bool awaits_reader = false;    ///< replies wait until the client reads
  bool awaits_sender = false;    ///< the rest of a request or payload is missing
  bool is_busy = false;          ///< there are requests in flight or unsent replies
  bool is_gone = false;          ///< the client has closed the connection in both directions
  bool holds_up_others = false;  ///< other connections wait for memory
};

class progress_timer {
 public:
  struct observer {
    std::function<session_progress()> inspect;
    /// Called with the reason when the client has disconnected or made no progress for the limit.
    std::function<void(std::string)> stalled;
    /// Called when nothing has happened for an interval of the timer.
    std::function<void()> idle;
  };

  /// `limit` 0: never reports a stall.
  progress_timer(const asio::any_io_executor& executor, std::chrono::nanoseconds limit,
                 observer callbacks);
  progress_timer(const progress_timer&) = delete;
  progress_timer& operator=(const progress_timer&) = delete;

  /// Starts the timer unless it runs. Call when the session becomes busy or waits for the rest of a
  /// request.
  void start() {
    if (!is_running_) run();
  }
  void cancel() { timer_.cancel(); }

 private:
  void run();
  void check();

  asio::steady_timer timer_;
  std::chrono::nanoseconds limit_;
  observer callbacks_;
  bool is_running_ = false;
  session_progress last_;
  stall_watch reader_;
  stall_watch sender_;
  /// A handler may be queued when the timer is destroyed: it checks this.
  std::shared_ptr<progress_timer*> alive_ = std::make_shared<progress_timer*>(this);
};

}  // namespace xenpv::nbd
