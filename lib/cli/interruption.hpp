// Lets a signal, such as SIGINT from Ctrl-C, end a measurement early but keep the results so far.
// Blocks SIGINT, SIGTERM and SIGHUP in its thread during its lifetime and polls for them, so it
// must be constructed before other threads start.
#pragma once

#include <signal.h>

namespace xenpv::cli {

class interruption {
 public:
  interruption();
  ~interruption();
  interruption(const interruption&) = delete;
  interruption& operator=(const interruption&) = delete;

  /// True once a signal has arrived.
  [[nodiscard]] bool is_asked() noexcept;

 private:
  sigset_t signals_{};
  sigset_t mask_before_{};
  bool is_asked_ = false;
};

}  // namespace xenpv::cli
