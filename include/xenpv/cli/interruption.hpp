// A measurement that is asked to end early (Ctrl-C) and still says what it found: the signals are
// kept back and looked at now and then. Blocks SIGINT, SIGTERM and SIGHUP of its thread while it
// lives, so it has to be made before other threads.
#pragma once

#include <signal.h>

namespace xenpv::cli {

class interruption {
 public:
  interruption();
  ~interruption();
  interruption(const interruption&) = delete;
  interruption& operator=(const interruption&) = delete;

  /// True for ever once a signal came.
  [[nodiscard]] bool is_asked() noexcept;

 private:
  sigset_t signals_{};
  sigset_t mask_before_{};
  bool is_asked_ = false;
};

}  // namespace xenpv::cli
