#include "probe/pair_run.hpp"

#include <fmt/format.h>
#include <poll.h>

#include <array>

#include "probe/measuring_thread.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::probe {
namespace {

using clock = std::chrono::steady_clock;

[[noreturn]] void throw_no_event(port expected, std::chrono::milliseconds timeout) {
  throw failure(errc::timed_out,
                fmt::format("wait {} ms for an event on port {}", timeout.count(), expected));
}

/// Returns false if no event is pending on port `expected`.
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
  // Read the clock only occasionally: a clock read costs as much as reading a handle without
  // pending events.
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

void send_round_trips(const pair_run& run, histogram& round_trips) {
  const auto& options = run.options;
  const bool alone = run.sender_cpu == run.echo_cpu;
  for (std::uint32_t i = 0; i < options.warm_up + options.count; ++i) {
    const auto start = clock::now();
    run.sender.notify(run.sender_port);
    if (alone) {
      take_event(run.echo, run.echo_port, options.timeout, options.spin);
      run.echo.notify(run.echo_port);
    }
    take_event(run.sender, run.sender_port, options.timeout, options.spin);
    const auto took = clock::now() - start;
    if (i >= options.warm_up)
      round_trips.add(static_cast<std::uint64_t>(
          std::chrono::duration_cast<std::chrono::nanoseconds>(took).count()));
  }
}

void echo_round_trips(const pair_run& run) {
  const auto& options = run.options;
  for (std::uint32_t i = 0; i < options.warm_up + options.count; ++i) {
    take_event(run.echo, run.echo_port, options.timeout, options.spin);
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
  std::optional<scheduling_wish> request;
  if (const auto priority = run.options.fifo_priority)
    request = {.policy = policy_wish::fifo, .priority = *priority};
  measuring_thread sender(run.sender_cpu, request, [&] { send_round_trips(run, round_trips); });
  std::optional<measuring_thread> echo;
  if (run.sender_cpu != run.echo_cpu)
    echo.emplace(run.echo_cpu, request, [&] { echo_round_trips(run); });
  sender.join();
  if (echo) echo->join();
}

}  // namespace xenpv::probe
