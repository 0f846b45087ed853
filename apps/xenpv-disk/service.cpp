#include "service.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>
#include <csignal>
#include <utility>

#include "async/nursery.hpp"
#include "async/signal.hpp"
#include "cli/service_manager.hpp"
#include "confinement.hpp"
#include "control_socket.hpp"
#include "hang_up.hpp"
#include "xenpv/async/run_on.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::disk_app {
namespace {

/// Stops a service. A coroutine can wait for the reason; only the first reason is kept.
class stop_switch {
 public:
  explicit stop_switch(const asio::any_io_executor& executor) : changed_(executor) {}

  void stop(std::string reason) {
    if (reason_.empty()) reason_ = std::move(reason);
    changed_.notify();
  }
  /// Stops the service; serve_until_stopped() then throws the error.
  void fail(std::exception_ptr problem) {
    error_ = std::move(problem);
    stop("an error occurred");
  }
  [[nodiscard]] bool is_stopped() const noexcept { return !reason_.empty(); }
  [[nodiscard]] const std::exception_ptr& error() const noexcept { return error_; }
  asio::awaitable<std::string> wait() {
    while (reason_.empty())
      co_await changed_.wait();
    co_return reason_;
  }

 private:
  async::signal changed_;
  std::string reason_;
  std::exception_ptr error_;
};

/// Runs one task of the service. If the task fails, the service stops; its other tasks continue
/// during shutdown, so that clients can drain and signals are handled.
asio::awaitable<void> run_part(asio::awaitable<void> part, stop_switch& stop) {
  try {
    co_await std::move(part);
  } catch (...) {
    if (stop.is_stopped()) throw;
    stop.fail(std::current_exception());
  }
}

/// True if the disk is connected, or lost only temporarily.
bool is_alive(blkfront::device_state state) {
  return state == blkfront::device_state::connected || state == blkfront::device_state::recovering;
}

/// How long clients of a lost disk are still served, and how often to check whether any clients are
/// connected. During this time, requests fail with ESHUTDOWN. Without it, a client without requests
/// in flight would only see the connection close, without an error.
constexpr std::chrono::milliseconds error_period(1000);
constexpr std::chrono::milliseconds error_poll_interval(20);

asio::awaitable<void> report_loss(disk_server& server) {
  asio::steady_timer timer(server.runtime.control());
  for (auto spent = error_poll_interval; spent <= error_period; spent += error_poll_interval) {
    if (server.server.statistics().connections == 0) co_return;
    timer.expires_after(error_poll_interval);
    co_await timer.async_wait(asio::use_awaitable);
  }
}

/// Time limit for a backend to complete requests of disconnected clients.
constexpr std::chrono::seconds backend_grace(2);

/// Closes a disk even if clients' requests are still in flight.
asio::awaitable<void> give_up_backend(served_disk& disk) {
  if (!is_alive(disk.device.state())) co_return;
  log().warn("{}: the backend does not respond; closing the disk with requests in flight",
             disk.name);
  // The close must not be interrupted.
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  co_await disk.device.close();
}

/// The number of requests that the disks have completed.
asio::awaitable<std::uint64_t> count_completed(disk_server& server) {
  std::uint64_t out = 0;
  for (auto& disk : server.disks)
    for (const auto& queue : co_await disk.device.statistics())
      for (const auto& counters : queue.operations)
        out += counters.requests;
  co_return out;
}

/// Closes the disks after `timeout`. Cancelled when all requests have completed.
asio::awaitable<void> give_up_backends(disk_server& server, std::chrono::nanoseconds timeout) {
  asio::steady_timer timer(server.runtime.control(), timeout);
  co_await timer.async_wait(asio::use_awaitable);
  async::nursery tasks(server.runtime.control());
  for (auto& disk : server.disks)
    tasks.spawn(give_up_backend(disk));
  co_await tasks.join();
}

/// Closes the disks once none has completed a request for `timeout`, so that a stalled backend does
/// not delay the shutdown. Cancelled when all requests have completed.
asio::awaitable<void> give_up_stalled_backends(disk_server& server,
                                               std::chrono::nanoseconds timeout) {
  asio::steady_timer timer(server.runtime.control());
  auto before = co_await count_completed(server);
  for (;;) {
    timer.expires_after(timeout);
    co_await timer.async_wait(asio::use_awaitable);
    const auto now = co_await count_completed(server);
    if (now == std::exchange(before, now)) break;
  }
  co_await give_up_backends(server, {});
}

/// Returns the error, if there was one. It has been logged.
asio::awaitable<std::string> reload(const disk_server& server, const service_work& work) {
  if (!work.reload) {
    log().info("{}: there is nothing to reload", server.name);
    co_return "there is nothing to reload: only serve reads files";
  }
  cli::notify_service_manager("RELOADING=1");
  std::string problem;
  try {
    co_await work.reload();
  } catch (const failure& refused) {
    problem = refused.what();
  }
  if (problem.empty())
    log().info("{}: reloaded", server.name);
  else
    log().error("{}: cannot reload: {} (the previous configuration stays in effect)", server.name,
                problem);
  cli::notify_service_manager("READY=1");
  co_return problem;
}

/// Returns true if SIGHUP stops the service.
bool stops_on_hang_up(const service_work& work) {
  if (terminal_is_closed()) return true;
  if (work.reload || hang_ups_are_ignored()) return false;
  return work.on_hang_up == hang_up::stops || was_started_from_terminal();
}

/// Waits for a signal that stops the service.
asio::awaitable<int> wait_for_stop(asio::signal_set& signals, const disk_server& server,
                                   const service_work& work) {
  // The signal may have arrived before `signals` existed.
  if (terminal_is_closed()) co_return SIGHUP;
  for (;;) {
    const int number = co_await signals.async_wait(asio::use_awaitable);
    if (number != SIGHUP || stops_on_hang_up(work)) co_return number;
    (void)co_await reload(server, work);
  }
}

std::string describe_stop(int number) {
  if (number == SIGHUP && terminal_is_closed()) return "the terminal was closed";
  return fmt::format("signal {}", number);
}

/// The first signal stops the service, the second disconnects clients. A terminal that closes may
/// send SIGHUP more than once, so SIGHUP is never the second signal.
asio::awaitable<void> handle_signals(disk_server& server, const service_work& work,
                                     stop_switch& stop) {
  auto& signals = server.signals;
  signals.add(SIGHUP);
  const auto first = co_await wait_for_stop(signals, server, work);
  if (work.stopped_by_signal) work.stopped_by_signal(first);
  stop.stop(describe_stop(first));
  while (co_await signals.async_wait(asio::use_awaitable) == SIGHUP) {
  }
  server.server.hang_up();
  co_await give_up_backends(server, backend_grace);
}

/// Notifies the service manager that this server is alive, as long as each of its threads responds.
asio::awaitable<void> feed_watchdog(disk_server& server, std::chrono::microseconds interval) {
  asio::steady_timer timer(server.runtime.control());
  for (;;) {
    for (auto& disk : server.disks)
      for (std::size_t i = 0; i < disk.device.queue_count(); ++i) {
        auto nothing = [] {};
        co_await async::call_on(disk.device.queue(i).get_executor(), nothing);
      }
    cli::notify_service_manager("WATCHDOG=1");
    timer.expires_after(interval);
    co_await timer.async_wait(asio::use_awaitable);
  }
}

asio::awaitable<void> stop_after(std::function<asio::awaitable<void>()> task, stop_switch& stop) {
  co_await task();
  stop.stop("task completed");
}

std::string reason_of_loss(const served_disk& disk) {
  return disk.device.failure_reason() ? disk.device.failure_reason()->text
                                      : std::string("the disk is no longer available");
}

/// Stops the service with the last disk; withdraws the exports of any other lost disk.
void handle_loss(const disk_server& server, const served_disk& disk, stop_switch& stop) {
  const bool serves_others = std::ranges::any_of(
      server.disks, [](const served_disk& other) { return is_alive(other.device.state()); });
  if (!serves_others) return stop.stop(reason_of_loss(disk));
  const auto reason = reason_of_loss(disk);
  server.server.withdraw(disk.device, reason);
  log().error("{}: {}; its clients are disconnected, and the other disks are still served",
              disk.name, reason);
}

void follow_device(disk_server& server, served_disk& disk, const service_work& work,
                   stop_switch& stop) {
  disk.device.on_change([&] {
    if (disk.device.state() == blkfront::device_state::recovering) {
      cli::notify_service_manager(
          fmt::format("STATUS=waiting for {}: {}", disk.name, disk.device.recovery().last_reason));
      return;
    }
    if (disk.device.state() == blkfront::device_state::connected) {
      if (disk.device.recovery().reconnects > 0)
        cli::notify_service_manager(fmt::format("STATUS=serving {}", server.name));
      server.server.reshape(disk.device, disk.device.shape());
      if (work.reshaped) work.reshaped();
      return;
    }
    handle_loss(server, disk, stop);
  });
  // It may have been lost before.
  if (!is_alive(disk.device.state())) handle_loss(server, disk, stop);
}

}  // namespace

void endpoints::remove_sockets() noexcept {
  for (const auto& path : unix_paths)
    remove_server_file(path);
  unix_paths.clear();
}

asio::awaitable<void> serve_until_stopped(disk_server& server, endpoints sockets,
                                          service_work work) {
  stop_switch stop(server.runtime.control());
  async::nursery tasks(server.runtime.control());
  for (auto& disk : server.disks)
    follow_device(server, disk, work, stop);
  for (auto& listener : sockets.listeners)
    server.server.listen(std::move(listener));
  tasks.spawn(run_part(handle_signals(server, work, stop), stop));
  auto reload_now = [&] { return reload(server, work); };
  for (auto& disk : server.disks)
    tasks.spawn(run_part(disk.control.answer(server, disk, reload_now), stop));
  if (const auto interval = cli::watchdog_interval())
    tasks.spawn(run_part(feed_watchdog(server, *interval), stop));
  if (work.task) tasks.spawn(run_part(stop_after(work.task, stop), stop));
  if (!work.task_says_ready) {
    server.is_ready = true;
    cli::notify_service_manager(fmt::format("READY=1\nSTATUS=serving {}", server.name));
  }
  const auto reason = co_await stop.wait();
  log().info("{}: stopping: {}", server.name, reason);
  cli::notify_service_manager("STOPPING=1\nSTATUS=waiting for clients");
  sockets.remove_sockets();
  const auto limit = nbd::server_options{}.drain_limit + backend_grace;
  tasks.spawn(run_part(give_up_stalled_backends(server, limit), stop));
  // A second signal is still handled while the service stops.
  if (work.before_stop) co_await work.before_stop();
  const auto is_alive_disk = [](const served_disk& disk) { return is_alive(disk.device.state()); };
  if (std::ranges::none_of(server.disks, is_alive_disk)) co_await report_loss(server);
  co_await server.server.stop();
  tasks.cancel();
  co_await tasks.join();
  if (stop.error()) std::rethrow_exception(stop.error());
  for (const auto& disk : server.disks) {
    const auto state = disk.device.state();
    const bool was_closed_here = state == blkfront::device_state::closed;
    if (!is_alive(state) && !was_closed_here)
      throw failure(disk.device.failure_reason().value_or(error{}));
  }
}

}  // namespace xenpv::disk_app
