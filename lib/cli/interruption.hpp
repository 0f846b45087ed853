// Ends a measurement early (Ctrl-C) with its results so far: signals are blocked and polled. Blocks
// SIGINT, SIGTERM and SIGHUP in its thread during its lifetime, so it must be constructed before
// other threads start.
#pragma once

#include <signal.h>

namespace xenpv::cli {

class interruption {
 public:
  interruption();
  ~interruption();
  interruption(const interruption&) = delete;
  interruption& operator=(const interruption&) = delete;

  /// True from the first signal on.
  [[nodiscard]] bool is_asked() noexcept;

 private:
  sigset_t signals_{};
  sigset_t mask_before_{};
  bool is_asked_ = false;
};

}  // namespace xenpv::cli
