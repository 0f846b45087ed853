#include "doctor/vdso.hpp"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>

namespace xenpv::doctor {
namespace {

// Exit statuses of the child.
enum outcome : int { read_in_user_space, asked_the_kernel, could_not_try };

/// Blocks the system call, then reads the clock as ordinary programs do. A blocked call fails with
/// ENXIO, which reading a clock never returns. Runs between fork and _exit, so it uses only
/// async-signal-safe functions.
[[noreturn]] void try_without_system_call() {
  std::array<sock_filter, 4> filter = {{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clock_gettime, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENXIO),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog program = {.len = filter.size(), .filter = filter.data()};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
    ::_exit(could_not_try);
  timespec now{};
  if (::syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now) == 0) ::_exit(could_not_try);
  ::_exit(::clock_gettime(CLOCK_MONOTONIC, &now) == 0 ? read_in_user_space : asked_the_kernel);
}

}  // namespace

std::optional<bool> clock_is_read_in_vdso() {
  const auto child = ::fork();
  if (child == 0) try_without_system_call();
  if (child < 0) return std::nullopt;
  int status = 0;
  while (::waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return std::nullopt;
  if (!WIFEXITED(status) || WEXITSTATUS(status) == could_not_try) return std::nullopt;
  return WEXITSTATUS(status) == read_in_user_space;
}

}  // namespace xenpv::doctor
