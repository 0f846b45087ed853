#include "probe/ipi_run.hpp"

#include <fmt/format.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

#include "xenpv/base/error.hpp"

namespace xenpv::probe {
namespace {

using clock = std::chrono::steady_clock;

/// The number of iterations between two yields: a few milliseconds, rare enough not to affect a
/// batch. The thread counts iterations because reading the clock may cause a VM exit.
constexpr std::uint32_t turns_per_yield = 1U << 20U;

long membarrier(int command, unsigned flags, unsigned cpu) {
  return ::syscall(SYS_membarrier, command, flags, cpu);
}

std::uint64_t nanoseconds_since(clock::time_point start) {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(clock::now() - start).count());
}

void register_command(int command) {
  if (membarrier(command, 0, 0) == 0) return;
  const int error = errno;
  throw failure(errc::not_available, "register for membarrier(2)",
                fmt::format("{}; Linux 5.10 with CONFIG_RSEQ is required", describe_errno(error)));
}

template <class Call>
void time_calls(std::uint32_t calls, fine_histogram& times, Call call) {
  for (std::uint32_t i = 0; i < calls; ++i) {
    const auto start = clock::now();
    if (call() != 0) throw_errno("call membarrier(2)");
    times.add(nanoseconds_since(start));
  }
}

timespec timespec_of(std::chrono::milliseconds time) {
  return {.tv_sec = time.count() / 1000, .tv_nsec = time.count() % 1000 * 1'000'000};
}

}  // namespace

void register_membarrier() {
  register_command(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
  register_command(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ);
}

void call_cpu(unsigned cpu, std::uint32_t calls, fine_histogram& times) {
  time_calls(calls, times, [cpu] {
    return membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, MEMBARRIER_CMD_FLAG_CPU, cpu);
  });
}

void call_all(std::uint32_t calls, fine_histogram& times) {
  time_calls(calls, times, [] { return membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0); });
}

spinner::spinner(unsigned cpu, const scheduling_wish& request)
    : thread_(cpu, request, [this] { run_commands(); }) {
  thread_.wait_until_ready();
}

spinner::~spinner() {
  set_command(command::end);
}

void spinner::run_commands() {
  for (;;) {
    command_.wait(command::rest);
    for (std::uint32_t turn = 1; command_.load(std::memory_order_acquire) == command::spin;
         ++turn) {
      spinning_.store(true, std::memory_order_release);
      // Without the yield, two programs that measure at the same time would starve each other's
      // threads: SCHED_FIFO does not time-slice within a priority.
      if (turn % turns_per_yield == 0) ::sched_yield();
    }
    spinning_.store(false, std::memory_order_release);
    if (command_ == command::end) return;
  }
}

void spinner::set_command(command new_command) {
  command_ = new_command;
  command_.notify_all();
}

bool spinner::spin(std::chrono::milliseconds timeout) {
  set_command(command::spin);
  const auto deadline = clock::now() + timeout;
  while (!spinning_.load(std::memory_order_acquire)) {
    if (clock::now() >= deadline) return false;
    constexpr timespec moment{.tv_sec = 0, .tv_nsec = 100'000};
    ::nanosleep(&moment, nullptr);
  }
  return true;
}

void spinner::rest() {
  set_command(command::rest);
}

void futex_line::wake() {
  word_.fetch_add(1, std::memory_order_release);
  ::syscall(SYS_futex, &word_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

bool futex_line::sleep(std::chrono::milliseconds timeout) {
  const auto limit = timespec_of(timeout);
  while (word_.load(std::memory_order_acquire) == 0) {
    const auto slept = ::syscall(SYS_futex, &word_, FUTEX_WAIT_PRIVATE, 0, &limit, nullptr, 0);
    if (slept != 0 && errno == ETIMEDOUT) return false;
  }
  word_.store(0, std::memory_order_release);
  return true;
}

eventfd_line::eventfd_line() : event_(::eventfd(0, EFD_CLOEXEC)) {
  if (!event_) throw_errno("create an eventfd");
}

void eventfd_line::wake() {
  const std::uint64_t one = 1;
  if (::write(event_.get(), &one, sizeof one) != sizeof one) throw_errno("write an eventfd");
}

bool eventfd_line::sleep(std::chrono::milliseconds timeout) {
  // read(2) has no timeout; poll(2) has one, and event loops use it.
  pollfd ready{event_.get(), POLLIN, 0};
  while (::poll(&ready, 1, static_cast<int>(timeout.count())) < 0)
    if (errno != EINTR) throw_errno("wait for an eventfd");
  if ((ready.revents & POLLIN) == 0) return false;
  std::uint64_t count = 0;
  if (::read(event_.get(), &count, sizeof count) != sizeof count) throw_errno("read an eventfd");
  return true;
}

void wake_and_wait(wake_line& there, wake_line& back, std::uint32_t wakes,
                   std::chrono::nanoseconds rest, std::chrono::milliseconds timeout,
                   fine_histogram& times) {
  const timespec pause{.tv_sec = rest.count() / 1'000'000'000,
                       .tv_nsec = rest.count() % 1'000'000'000};
  for (std::uint32_t i = 0; i < wakes; ++i) {
    // Sleep instead of polling the clock: a busy CPU makes the scheduler interrupt idle ones to
    // share its load (kick_ilb()), and these IPIs would be counted too.
    ::nanosleep(&pause, nullptr);
    const auto start = clock::now();
    there.wake();
    if (!back.sleep(timeout))
      throw failure(errc::timed_out, fmt::format("wait {} ms for a wake-up", timeout.count()));
    times.add(nanoseconds_since(start));
  }
}

}  // namespace xenpv::probe
