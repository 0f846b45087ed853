#include "base/device_opening.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "xenpv/base/error.hpp"

namespace xenpv {
namespace {

/// Moves `descriptor` to number 0 and closes all other descriptors. Runs after fork() in a
/// multi-threaded process, so it may only make system calls.
void keep_only(int descriptor) {
  constexpr int max_descriptors = 65536;
  ::dup2(descriptor, 0);
  if (::syscall(SYS_close_range, 1U, ~0U, 0U) == 0) return;
  // Fallback for kernels before 5.9.
  for (int other = 1; other < max_descriptors; ++other)
    ::close(other);
}

int try_open(const char* path, device_opening::purpose intent) {
  const int flags = intent == device_opening::purpose::claim ? O_RDONLY | O_EXCL : O_RDONLY;
  const int device = ::open(path, flags | O_CLOEXEC);
  if (device < 0) return errno;
  if (intent == device_opening::purpose::write_back && ::fsync(device) != 0) return errno;
  return 0;
}

[[noreturn]] void run_child(const char* path, device_opening::purpose intent, int report) {
  // The parent's signal handlers would write to closed descriptors.
  for (const int number : {SIGTERM, SIGINT, SIGHUP})
    ::signal(number, SIG_DFL);
  keep_only(report);
  const int outcome = try_open(path, intent);
  [[maybe_unused]] const auto written = ::write(0, &outcome, sizeof outcome);
  ::_exit(0);
}

}  // namespace

device_opening::device_opening(const std::string& path, purpose intent) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw_errno(fmt::format("open {}", path));
  outcome_.reset(ends[0]);
  const unique_fd report(ends[1]);
  child_ = ::fork();
  if (child_ < 0) throw_errno(fmt::format("open {} in a child process", path));
  if (child_ == 0) run_child(path.c_str(), intent, report.get());
}

device_opening::~device_opening() {
  if (child_ > 0) ::waitpid(child_, nullptr, WNOHANG);
}

int device_opening::outcome() {
  int out = EIO;
  while (::read(outcome_.get(), &out, sizeof out) < 0 && errno == EINTR) {
  }
  if (child_ > 0) ::waitpid(child_, nullptr, 0);
  child_ = -1;
  return out;
}

}  // namespace xenpv
