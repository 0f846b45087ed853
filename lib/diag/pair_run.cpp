#include "diag/pair_run.hpp"

#include <fmt/format.h>
#include <poll.h>

#include <array>
#include <exception>

#include "diag/measuring_thread.hpp"
#include "xenpv/async/cpu_set.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/diag/scheduling.hpp"

namespace xenpv::diag {
namespace {

using clock = std::chrono::steady_clock;

[[noreturn]] void throw_no_event(port wanted, std::chrono::milliseconds patience) {
  throw failure(errc::timed_out,
                fmt::format("wait {} ms for an event on port {}", patience.count(), wanted));
}

/// False when none waits.
bool drain_once(xen::event_channel_handle& handle, port wanted) {
  std::array<port, 4> pending{};
  const auto count = handle.drain(pending);
  for (std::size_t i = 0; i < count; ++i)
    if (pending[i] == wanted) {
      handle.unmask(wanted);
      return true;
    }
  return false;
}

void spin_for_event(xen::event_channel_handle& handle, port wanted,
                    std::chrono::milliseconds patience) {
  // The clock is looked at now and then only: reading it costs as much as an empty read.
  constexpr unsigned looks = 4096;
  const auto until = clock::now() + patience;
  for (;;) {
    for (unsigned i = 0; i < looks; ++i)
      if (drain_once(handle, wanted)) return;
    if (clock::now() >= until) throw_no_event(wanted, patience);
  }
}

void sleep_for_event(xen::event_channel_handle& handle, port wanted,
                     std::chrono::milliseconds patience) {
  const auto until = clock::now() + patience;
  while (!drain_once(handle, wanted)) {
    pollfd ready{handle.descriptor(), POLLIN, 0};
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - clock::now()).count();
    if (left <= 0 || ::poll(&ready, 1, static_cast<int>(left)) == 0)
      throw_no_event(wanted, patience);
  }
}

void prepare_thread(unsigned cpu, const std::optional<int>& fifo_priority) {
  async::pin_this_thread(cpu);
  if (fifo_priority) take_scheduling({.policy = policy_wish::fifo, .priority = *fifo_priority});
}

void send_round_trips(const pair_run& how, histogram& round_trips) {
  const bool alone = how.sender_cpu == how.echo_cpu;
  for (std::uint32_t i = 0; i < how.warm_up + how.count; ++i) {
    const auto start = clock::now();
    how.sender.notify(how.sender_port);
    if (alone) {
      take_event(how.echo, how.echo_port, how.patience, how.spin);
      how.echo.notify(how.echo_port);
    }
    take_event(how.sender, how.sender_port, how.patience, how.spin);
    const auto took = clock::now() - start;
    if (i >= how.warm_up)
      round_trips.add(static_cast<std::uint64_t>(
          std::chrono::duration_cast<std::chrono::nanoseconds>(took).count()));
  }
}

void echo_round_trips(const pair_run& how) {
  for (std::uint32_t i = 0; i < how.warm_up + how.count; ++i) {
    take_event(how.echo, how.echo_port, how.patience, how.spin);
    how.echo.notify(how.echo_port);
  }
}

}  // namespace

void take_event(xen::event_channel_handle& handle, port wanted, std::chrono::milliseconds patience,
                bool spin) {
  if (spin)
    spin_for_event(handle, wanted, patience);
  else
    sleep_for_event(handle, wanted, patience);
}

void run_round_trips(const pair_run& how, histogram& round_trips) {
  std::exception_ptr echo_problem;
  worker sender([&] {
    prepare_thread(how.sender_cpu, how.fifo_priority);
    send_round_trips(how, round_trips);
  });
  if (how.sender_cpu != how.echo_cpu) {
    worker echo([&] {
      prepare_thread(how.echo_cpu, how.fifo_priority);
      echo_round_trips(how);
    });
    echo_problem = echo.finish();
  }
  if (const auto problem = sender.finish()) std::rethrow_exception(problem);
  if (echo_problem) std::rethrow_exception(echo_problem);
}

}  // namespace xenpv::diag
