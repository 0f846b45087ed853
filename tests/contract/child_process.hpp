// A forked child that runs a function and reports one number to its parent before exiting. The
// child never returns to the test framework: it calls _exit or is killed.
#pragma once

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <optional>
#include <system_error>

#include "contract/environment.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::contract {

class child_process {
 public:
  /// Runs `work` in the child, which reports the return value to the parent. The child then keeps
  /// its resources and waits for stop(), kill() or the parent's exit. If `work` throws, the child
  /// exits without a report.
  template <class Work>
  explicit child_process(Work&& work) {
    int report[2], exit_request[2];
    if (::pipe(report) != 0 || ::pipe(exit_request) != 0) fail("pipe");
    id_ = ::fork();
    if (id_ < 0) fail("fork");
    if (id_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::close(report[0]);
      ::close(exit_request[1]);
      run(work, report[1], exit_request[0]);
    }
    ::close(report[1]);
    ::close(exit_request[0]);
    report_ = unique_fd(report[0]);
    exit_request_ = unique_fd(exit_request[1]);
  }
  child_process(const child_process&) = delete;
  child_process& operator=(const child_process&) = delete;
  ~child_process() { kill(); }

  /// Returns the number that the child reports, or nullopt if the child failed.
  [[nodiscard]] std::optional<std::uint32_t> report() {
    std::uint32_t value = 0;
    if (!readable_within(report_.get(), time_limit)) return std::nullopt;
    if (::read(report_.get(), &value, sizeof value) != sizeof value) return std::nullopt;
    return value;
  }

  /// Makes the child call _exit, without cleanup, and waits for its exit.
  void stop() {
    exit_request_.reset();
    wait();
  }
  void kill() {
    if (id_ > 0) ::kill(id_, SIGKILL);
    wait();
  }

 private:
  template <class Work>
  [[noreturn]] static void run(Work& work, int report, int exit_request) {
    try {
      const std::uint32_t value = work();
      if (::write(report, &value, sizeof value) == sizeof value) {
        char byte = 0;
        while (::read(exit_request, &byte, 1) < 0 && errno == EINTR)
          continue;
      }
    } catch (...) {
      ::_exit(1);
    }
    ::_exit(0);
  }
  void wait() {
    if (id_ > 0) {
      while (::waitpid(id_, nullptr, 0) < 0 && errno == EINTR)
        continue;
    }
    id_ = -1;
  }
  [[noreturn]] static void fail(const char* operation) {
    throw std::system_error(errno, std::generic_category(), operation);
  }

  pid_t id_ = -1;
  unique_fd report_;
  unique_fd exit_request_;
};

}  // namespace xenpv::contract
