// A terminal as a board that is redrawn in place: the alternate screen, cut to the window's size,
// one write a picture. Keys come one by one, and signals that end or resize come as events, so that
// the terminal is always put back. One at a time, one thread; blocks SIGINT, SIGTERM, SIGHUP and
// SIGWINCH of its thread while it lives, so it has to be made before other threads.
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

  /// Standard input and output are terminals that can be redrawn (TERM is not "dumb").
  [[nodiscard]] static bool is_possible() noexcept;

  screen();
  /// Shows again what was there before.
  ~screen();
  screen(const screen&) = delete;
  screen& operator=(const screen&) = delete;

  [[nodiscard]] extent size() const noexcept;
  /// The first lines that fit, each cut to the width. Text has to be printable (table.hpp).
  void draw(const std::vector<std::string>& lines);
  /// Until something happens. `ended`: a signal asks to end.
  [[nodiscard]] event wait(std::chrono::steady_clock::time_point until);
  /// The key of the last event::key.
  [[nodiscard]] char key() const noexcept { return key_; }

 private:
  [[nodiscard]] event take_signal();

  termios before_{};
  sigset_t mask_before_{};
  unique_fd signals_;
  char key_ = 0;
};

}  // namespace xenpv::cli
