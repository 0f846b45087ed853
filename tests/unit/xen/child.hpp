// Signals and exit statuses of child processes.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <csignal>

namespace xenpv::xen::test {

/// Refuses to signal a process group or all processes: after a failed start, `process` is -1, which
/// means "all processes" to kill(2).
[[nodiscard]] inline bool send_signal(pid_t process, int number) {
  if (process <= 1) {
    ADD_FAILURE() << "no process to signal: " << process;
    return false;
  }
  return ::kill(process, number) == 0;
}

inline int wait_status(pid_t process) {
  if (process <= 1) {
    ADD_FAILURE() << "no process to wait for: " << process;
    return -1;
  }
  int status = -1;
  EXPECT_EQ(::waitpid(process, &status, 0), process);
  return status;
}

}  // namespace xenpv::xen::test
