#include "sandbox/every_thread.hpp"

#include <fmt/format.h>
#include <semaphore.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <set>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "xenpv/base/error.hpp"

#ifdef __x86_64__
// The kernel needs the address of code that returns from a signal handler; the C library's own is
// private.
extern "C" void xenpv_sandbox_return_from_handler();
__asm__(
    ".pushsection .text\n"
    ".type xenpv_sandbox_return_from_handler, @function\n"
    "xenpv_sandbox_return_from_handler:\n"
    "  mov $15, %rax\n"  // rt_sigreturn
    "  syscall\n"
    ".size xenpv_sandbox_return_from_handler, . - xenpv_sandbox_return_from_handler\n"
    ".popsection\n");
#endif

namespace xenpv::sandbox {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::seconds response_limit(10);

/// The action for a signal as rt_sigaction(2) expects it: sigaction(3) refuses internal signals.
struct kernel_action {
  void (*handler)(int, siginfo_t*, void*) = nullptr;
  unsigned long flags = 0;
#if defined(__x86_64__) || defined(__aarch64__)
  void (*restorer)() = nullptr;
#endif
  std::uint64_t mask = 0;
};

/// The call in progress. Static, because a thread that responds too late still accesses it.
struct broadcast {
  std::atomic<thread_function> function = nullptr;
  std::atomic<const void*> argument = nullptr;
  std::atomic<int> unblocked_signal = 0;  ///< 0: none
  std::atomic<int> error = 0;
  sem_t done{};
};
broadcast current;
std::mutex one_at_a_time;

/// glibc (SIGSETXID) and musl (SIGSYNCCALL) use the last of their internal signals. No thread can
/// block it through the C library.
int internal_signal() noexcept {
  return SIGRTMIN - 1;
}

void keep_first_error(int error) noexcept {
  int none = 0;
  if (error != 0) current.error.compare_exchange_strong(none, error);
}

void handle(int, siginfo_t* info, void* context) noexcept {
  const int before = errno;
  if (info->si_code == SI_TKILL && info->si_pid == ::getpid()) {
    if (const auto function = current.function.load())
      keep_first_error(function(current.argument.load()));
    if (const int signal = current.unblocked_signal.load(); signal != 0)
      ::sigdelset(&static_cast<ucontext_t*>(context)->uc_sigmask, signal);
    ::sem_post(&current.done);
  }
  errno = before;
}

/// Replaces the handler of the internal signal while this object lives.
class handler_scope {
 public:
  explicit handler_scope(const char* operation) {
    kernel_action action;
    action.handler = handle;
    action.flags = SA_SIGINFO | SA_RESTART;
#ifdef __x86_64__
    constexpr unsigned long has_restorer = 0x0400'0000;
    action.flags |= has_restorer;
    action.restorer = xenpv_sandbox_return_from_handler;
#endif
    action.mask = ~std::uint64_t{0};
    if (set(&action, &before_) != 0) throw_errno(operation);
  }
  ~handler_scope() {
    set(&before_, nullptr);
  }
  handler_scope(const handler_scope&) = delete;
  handler_scope& operator=(const handler_scope&) = delete;

 private:
  static long set(const kernel_action* action, kernel_action* before) noexcept {
    return ::syscall(SYS_rt_sigaction, internal_signal(), action, before, sizeof action->mask);
  }

  kernel_action before_;
};

/// Threads of the kernel that belong to this process, such as io_uring's. They handle no signals,
/// and have the privileges of the thread that started them, with which they end.
bool is_kernel_worker(const std::string& name) {
  return name.starts_with("iou-wrk-") || name.starts_with("iou-sqp-");
}

std::string name_of(pid_t thread) {
  std::string name;
  std::getline(std::ifstream(fmt::format("/proc/self/task/{}/comm", thread)), name);
  return name;
}

std::vector<pid_t> list_threads(const char* operation) {
  std::vector<pid_t> out;
  std::error_code problem;
  for (std::filesystem::directory_iterator entry("/proc/self/task", problem), end;
       !problem && entry != end; entry.increment(problem)) {
    const auto name = entry->path().filename().string();
    pid_t id = 0;
    std::from_chars(name.data(), name.data() + name.size(), id);
    if (id != 0) out.push_back(id);
  }
  if (problem) throw failure(problem, fmt::format("{}: list /proc/self/task", operation));
  return out;
}

bool exists(pid_t thread) noexcept {
  return ::syscall(SYS_tgkill, ::getpid(), thread, 0) == 0;
}

void wait_for(pid_t thread, const char* operation) {
  const auto limit = steady_clock::now() + response_limit;
  for (;;) {
    timespec soon{};
    ::clock_gettime(CLOCK_REALTIME, &soon);
    soon.tv_nsec += 20'000'000;
    if (soon.tv_nsec >= 1'000'000'000) {
      soon.tv_nsec -= 1'000'000'000;
      ++soon.tv_sec;
    }
    if (::sem_timedwait(&current.done, &soon) == 0) return;
    if (!exists(thread)) {
      // It may have responded and ended between the two calls.
      ::sem_trywait(&current.done);
      return;
    }
    if (steady_clock::now() > limit)
      throw failure(errc::timed_out,
                    fmt::format("{} on thread {} ({})", operation, thread, name_of(thread)),
                    "it does not handle signals");
  }
}

/// Waits for workers of threads that have just ended.
void wait_for_workers(const char* operation) {
  const auto limit = steady_clock::now() + response_limit;
  const auto is_worker = [](pid_t thread) { return is_kernel_worker(name_of(thread)); };
  while (std::ranges::any_of(list_threads(operation), is_worker)) {
    if (steady_clock::now() > limit)
      throw failure(errc::timed_out, operation, "a worker of io_uring does not end");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

void interrupt_others(const char* operation) {
  const auto self = static_cast<pid_t>(::syscall(SYS_gettid));
  std::set<pid_t> finished{self};
  // Repeat until there are no new threads: a thread that was not interrupted yet may have started
  // one.
  for (bool found = true; found;) {
    found = false;
    for (const pid_t thread : list_threads(operation)) {
      if (!finished.insert(thread).second || is_kernel_worker(name_of(thread))) continue;
      if (::syscall(SYS_tgkill, ::getpid(), thread, internal_signal()) != 0) {
        if (errno == ESRCH) continue;
        throw_errno(fmt::format("{} on thread {}", operation, thread));
      }
      found = true;
      wait_for(thread, operation);
    }
  }
}

void interrupt_all(thread_function function, const void* argument, int unblocked_signal,
                   const char* operation) {
  const std::lock_guard lock(one_at_a_time);
  ::sem_init(&current.done, 0, 0);
  current.error = 0;
  current.argument = argument;
  current.unblocked_signal = unblocked_signal;
  current.function = function;
  {
    const handler_scope scope(operation);
    interrupt_others(operation);
  }
  if (function != nullptr) keep_first_error(function(argument));
  current.function = nullptr;
  if (const int error = current.error.load(); error != 0) throw_errno(error, operation);
}

}  // namespace

void run_on_every_thread(thread_function function, const void* argument, const char* operation) {
  wait_for_workers(operation);
  interrupt_all(function, argument, 0, operation);
}

void unblock_on_every_thread(int signal) {
  interrupt_all(nullptr, nullptr, signal, "unblock a signal");
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, signal);
  ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

}  // namespace xenpv::sandbox
