#include "probe/timer_run.hpp"

#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "xenpv/base/error.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::probe {
namespace {

using std::chrono::nanoseconds;

timespec timespec_of(nanoseconds time) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
  return {.tv_sec = seconds.count(), .tv_nsec = (time - seconds).count()};
}

}  // namespace

nanoseconds monotonic_now() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::chrono::seconds(now.tv_sec) + nanoseconds(now.tv_nsec);
}

void publish(const periods& schedule, live_figures& live) noexcept {
  const auto& late = schedule.wake_lateness();
  live.set({.samples = late.count(),
            .lost = schedule.lost(),
            .min = late.min(),
            .last = schedule.last_lateness(),
            .mean = static_cast<std::uint64_t>(late.mean()),
            .max = late.max()});
}

void run_clock_nanosleep(periods& schedule, nanoseconds end, const stop_flag& stop,
                         live_figures& live) {
  while (schedule.due() < end && !stop.is_set()) {
    const auto due = timespec_of(schedule.due());
    int error = 0;
    do {
      error = ::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, nullptr);
    } while (error == EINTR);
    const auto now = monotonic_now();
    if (error != 0) throw_errno(error, "sleep with clock_nanosleep");
    schedule.woke(now);
    publish(schedule, live);
  }
}

void run_timerfd(periods& schedule, nanoseconds interval, nanoseconds end, const stop_flag& stop,
                 live_figures& live) {
  const unique_fd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
  if (!timer) throw_errno("create a timerfd");
  const itimerspec setting{.it_interval = timespec_of(interval),
                           .it_value = timespec_of(schedule.due())};
  if (::timerfd_settime(timer.get(), TFD_TIMER_ABSTIME, &setting, nullptr) != 0)
    throw_errno("set a timerfd");
  while (schedule.due() < end && !stop.is_set()) {
    std::uint64_t over = 0;
    const auto size = ::read(timer.get(), &over, sizeof over);
    const auto now = monotonic_now();
    if (size == sizeof over)
      schedule.woke(now, over);
    else if (size < 0 && errno != EINTR)
      throw_errno("read a timerfd");
    publish(schedule, live);
  }
}

void run_spin(fine_histogram& times, gap_facts& gaps, nanoseconds shortest_gap, nanoseconds end,
              const stop_flag& stop, live_figures& live) {
  using namespace std::chrono_literals;
  // Busy for 80 ms of every 100 ms, below the kernel's default limit of 950 ms per second.
  constexpr auto busy_time = 80ms;
  constexpr timespec rest{.tv_sec = 0, .tv_nsec = 20'000'000};
  auto last = monotonic_now();
  while (last < end && !stop.is_set()) {
    const auto start = last;
    nanoseconds longest{};
    while (last - start < busy_time) {
      const auto now = monotonic_now();
      const auto gap = now - last;
      times.add(static_cast<std::uint64_t>(gap.count()));
      longest = std::max(longest, gap);
      if (gap >= shortest_gap) {
        ++gaps.count;
        gaps.total += gap;
      }
      last = now;
    }
    gaps.looked += last - start;
    live.set({.samples = times.count(),
              .min = times.min(),
              .last = static_cast<std::uint64_t>(longest.count()),
              .mean = static_cast<std::uint64_t>(times.mean()),
              .max = times.max()});
    ::nanosleep(&rest, nullptr);
    last = monotonic_now();
  }
}

}  // namespace xenpv::probe
