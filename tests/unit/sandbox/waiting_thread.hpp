// A thread that waits for a request and then runs a function, for tests of functions that affect
// all threads.
#pragma once

#include <csignal>
#include <functional>
#include <future>
#include <thread>
#include <utility>

namespace xenpv::sandbox {

/// Whether the thread blocks all signals, like libxenstore's thread.
enum class signal_mask { none, all };

class waiting_thread {
 public:
  /// Returns when the thread runs.
  explicit waiting_thread(std::function<void()> function, signal_mask mask = signal_mask::none)
      : thread_([this, mask, function = std::move(function)] {
          sigset_t all;
          ::sigfillset(&all);
          if (mask == signal_mask::all) ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
          started_.set_value();
          proceed_.get_future().wait();
          function();
        }) {
    started_.get_future().wait();
  }
  ~waiting_thread() {
    if (thread_.joinable()) finish();
  }
  waiting_thread(const waiting_thread&) = delete;
  waiting_thread& operator=(const waiting_thread&) = delete;

  /// Runs the function and ends the thread.
  void finish() {
    proceed_.set_value();
    thread_.join();
  }

 private:
  std::promise<void> started_;
  std::promise<void> proceed_;
  std::thread thread_;
};

}  // namespace xenpv::sandbox
