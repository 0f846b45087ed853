#include "probe/pair_run.hpp"

#include <fmt/format.h>
#include <poll.h>

#include <array>
#include <exception>

#include "probe/measuring_thread.hpp"
#include "probe/scheduling.hpp"
#include "xenpv/async/cpu_set.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::probe {
namespace {

using clock = std::chrono::steady_clock;

[[noreturn]] void throw_no_event(port expected, std::chrono::milliseconds timeout) {
  throw failure(errc::timed_out,
                fmt::format("wait {} ms for an event on port {}", timeout.count(), expected));
}

/// Returns false if no event is pending.
bool drain_once(xen::event_channel_handle& handle, port expected) {
  std::array<port, 4> pending{};
  const auto count = handle.drain(pending);
  for (std::size_t i = 0; i < count; ++i)
    if (pending[i] == expected) {
      handle.unmask(expected);
      return true;
    }
  return false;
}

void spin_for_event(xen::event_channel_handle& handle, port expected,
                    std::chrono::milliseconds timeout) {
  // The clock is read only occasionally: a clock read costs as much as reading the handle when no
  // event is pending.
  constexpr unsigned polls_per_check = 4096;
  const auto deadline = clock::now() + timeout;
  for (;;) {
    for (unsigned i = 0; i < polls_per_check; ++i)
      if (drain_once(handle, expected)) return;
    if (clock::now() >= deadline) throw_no_event(expected, timeout);
  }
}

void sleep_for_event(xen::event_channel_handle& handle, port expected,
                     std::chrono::milliseconds timeout) {
  const auto deadline = clock::now() + timeout;
  while (!drain_once(handle, expected)) {
    pollfd ready{handle.descriptor(), POLLIN, 0};
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - clock::now()).count();
    if (left <= 0 || ::poll(&ready, 1, static_cast<int>(left)) == 0)
      throw_no_event(expected, timeout);
  }
}

void prepare_thread(unsigned cpu, const std::optional<int>& fifo_priority) {
  async::pin_this_thread(cpu);
  if (fifo_priority) take_scheduling({.policy = policy_wish::fifo, .priority = *fifo_priority});
}

void send_round_trips(const pair_run& run, histogram& round_trips) {
  const bool alone = run.sender_cpu == run.echo_cpu;
  for (std::uint32_t i = 0; i < run.warm_up + run.count; ++i) {
    const auto start = clock::now();
    run.sender.notify(run.sender_port);
    if (alone) {
      take_event(run.echo, run.echo_port, run.timeout, run.spin);
      run.echo.notify(run.echo_port);
    }
    take_event(run.sender, run.sender_port, run.timeout, run.spin);
    const auto took = clock::now() - start;
    if (i >= run.warm_up)
      round_trips.add(static_cast<std::uint64_t>(
          std::chrono::duration_cast<std::chrono::nanoseconds>(took).count()));
  }
}

void echo_round_trips(const pair_run& run) {
  for (std::uint32_t i = 0; i < run.warm_up + run.count; ++i) {
    take_event(run.echo, run.echo_port, run.timeout, run.spin);
    run.echo.notify(run.echo_port);
  }
}

}  // namespace

void take_event(xen::event_channel_handle& handle, port expected, std::chrono::milliseconds timeout,
                bool spin) {
  if (spin)
    spin_for_event(handle, expected, timeout);
  else
    sleep_for_event(handle, expected, timeout);
}

void run_round_trips(const pair_run& run, histogram& round_trips) {
  std::exception_ptr echo_problem;
  worker sender([&] {
    prepare_thread(run.sender_cpu, run.fifo_priority);
    send_round_trips(run, round_trips);
  });
  if (run.sender_cpu != run.echo_cpu) {
    worker echo([&] {
      prepare_thread(run.echo_cpu, run.fifo_priority);
      echo_round_trips(run);
    });
    echo_problem = echo.finish();
  }
  if (const auto problem = sender.finish()) std::rethrow_exception(problem);
  if (echo_problem) std::rethrow_exception(echo_problem);
}

}  // namespace xenpv::probe
