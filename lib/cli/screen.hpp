// A full-screen view that is redrawn in place: uses the alternate screen, clips to the window size
// and draws with one write. Keys are read one by one. Signals that end the program or resize the
// window are reported as events, so that the terminal is always restored. Only one instance may
// exist, and only one thread may use it. Blocks SIGINT, SIGTERM, SIGHUP and SIGWINCH in its thread
// during its lifetime, so it must be constructed before other threads start.
#pragma once

#include <signal.h>
#include <termios.h>

#include <chrono>
#include <string>
#include <vector>

#include "xenpv/base/unique_fd.hpp"

namespace xenpv::cli {

class screen {
 public:
  struct extent {
    unsigned columns = 80;
    unsigned rows = 24;
  };
  enum class event { timeout, resized, key, ended };

  /// True if stdin and stdout are terminals and stdout can be redrawn (TERM is not "dumb").
  [[nodiscard]] static bool is_possible() noexcept;

  screen();
  /// Restores the terminal.
  ~screen();
  screen(const screen&) = delete;
  screen& operator=(const screen&) = delete;

  [[nodiscard]] extent size() const noexcept;
  /// Draws the first lines that fit, each truncated to the width. Text must be printable
  /// (table.hpp).
  void draw(const std::vector<std::string>& lines);
  /// Waits for an event, at most until `until`. `ended`: a termination signal has arrived, or stdin
  /// was closed.
  [[nodiscard]] event wait(std::chrono::steady_clock::time_point until);
  /// Returns the key that caused the last event::key.
  [[nodiscard]] char key() const noexcept { return key_; }

 private:
  [[nodiscard]] event take_signal();

  termios before_{};
  sigset_t mask_before_{};
  unique_fd signals_;
  char key_ = 0;
};

}  // namespace xenpv::cli
