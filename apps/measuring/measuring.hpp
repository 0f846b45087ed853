// The parts that xenpv-timer and xenpv-ipi share: a progress line that Ctrl-C interrupts, and the
// options for the scheduling of the measuring threads. Owned and used by the program's main thread.
// Does not measure (lib/probe) and does not print results (each program's report.cpp).
#pragma once

#include <signal.h>
#include <time.h>

#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "cli/command.hpp"
#include "cli/progress.hpp"
#include "probe/scheduling.hpp"

namespace xenpv::measuring {

/// Shows progress (cli::progress_line) and lets a signal, such as SIGINT from Ctrl-C, end a
/// measurement early but keep the results so far. Blocks SIGINT, SIGTERM and SIGHUP in its thread
/// during its lifetime and polls for them, so it must be constructed before other threads start.
class progress {
 public:
  progress() {
    ::sigemptyset(&signals_);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP})
      ::sigaddset(&signals_, signal);
    ::pthread_sigmask(SIG_BLOCK, &signals_, &mask_before_);
  }
  ~progress() {
    line_.clear();  // first, because a pending signal may end the program
    ::pthread_sigmask(SIG_SETMASK, &mask_before_, nullptr);
  }
  progress(const progress&) = delete;
  progress& operator=(const progress&) = delete;

  /// Shows `text` and returns true; returns false, without showing it, once a signal has arrived.
  [[nodiscard]] bool go_on(std::string_view text) {
    if (!is_interrupted()) line_.show(text);
    return !is_interrupted_;
  }
  /// The same for several lines.
  [[nodiscard]] bool go_on(const std::vector<std::string>& lines) {
    if (!is_interrupted()) line_.show_lines(lines);
    return !is_interrupted_;
  }
  /// Returns how many lines fit the terminal.
  [[nodiscard]] std::size_t max_lines() const noexcept { return line_.max_lines(); }
  /// True once a signal has arrived.
  [[nodiscard]] bool is_interrupted() {
    constexpr timespec now{};
    is_interrupted_ = is_interrupted_ || ::sigtimedwait(&signals_, nullptr, &now) > 0;
    return is_interrupted_;
  }

 private:
  sigset_t signals_{};
  sigset_t mask_before_{};
  cli::progress_line line_;
  bool is_interrupted_ = false;
};

/// Adds --policy and --priority, which set `schedule`.
inline void add_scheduling_options(cli::command& command, probe::scheduling_wish& schedule) {
  using probe::policy_wish;
  command
      .option("--policy POLICY", schedule.policy, "fifo, other, or auto: fifo if permitted",
              cli::one_of<policy_wish>({{"auto", policy_wish::automatic},
                                        {"fifo", policy_wish::fifo},
                                        {"other", policy_wish::other}}),
              {.by_default = "auto"})
      .option("--priority N", schedule.priority, "SCHED_FIFO priority, 1 to 99",
              cli::whole_number<int>(1, 99), {.by_default = "80"});
}

}  // namespace xenpv::measuring
