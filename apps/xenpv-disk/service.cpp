#include "service.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>
#include <csignal>

#include "async/nursery.hpp"
#include "async/signal.hpp"
#include "cli/service_manager.hpp"
#include "control_socket.hpp"
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

asio::awaitable<void> report_loss(served_disk& disk) {
  asio::steady_timer timer(disk.runtime.control());
  for (auto spent = error_poll_interval; spent <= error_period; spent += error_poll_interval) {
    if (disk.server.statistics().connections == 0) co_return;
    timer.expires_after(error_poll_interval);
    co_await timer.async_wait(asio::use_awaitable);
  }
}

/// Time limit for a backend to complete requests of disconnected clients.
constexpr std::chrono::seconds grace(2);

/// Closes the disk after `timeout`, even if clients' requests are still in flight, so that a
/// stalled backend does not delay the shutdown. Cancelled when all requests have completed.
asio::awaitable<void> give_up_backend(served_disk& disk, std::chrono::nanoseconds timeout) {
  asio::steady_timer timer(disk.runtime.control(), timeout);
  co_await timer.async_wait(asio::use_awaitable);
  if (!is_alive(disk.device.state())) co_return;
  log().warn("{}: the backend does not respond; closing the disk with requests in flight",
             disk.name);
  // The close must not be interrupted.
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  co_await disk.device.close();
}

/// The first signal stops the service, the second disconnects clients.
asio::awaitable<void> handle_signals(served_disk& disk, stop_switch& stop) {
  asio::signal_set signals(disk.runtime.control(), SIGTERM, SIGINT);
  const auto first = co_await signals.async_wait(asio::use_awaitable);
  stop.stop(fmt::format("signal {}", first));
  co_await signals.async_wait(asio::use_awaitable);
  disk.server.hang_up();
  co_await give_up_backend(disk, grace);
}

/// Notifies the service manager that this server is alive, as long as each of its threads responds.
asio::awaitable<void> feed_watchdog(served_disk& disk, std::chrono::microseconds interval) {
  asio::steady_timer timer(disk.runtime.control());
  for (;;) {
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

void follow_device(served_disk& disk, std::function<void()> reshaped, stop_switch& stop) {
  disk.device.on_change([&disk, &stop, reshaped = std::move(reshaped)] {
    if (disk.device.state() == blkfront::device_state::recovering) {
      cli::notify_service_manager(
          fmt::format("STATUS=waiting for {}: {}", disk.name, disk.device.recovery().last_reason));
      return;
    }
    if (disk.device.state() == blkfront::device_state::connected) {
      if (disk.device.recovery().reconnects > 0)
        cli::notify_service_manager(fmt::format("STATUS=serving {}", disk.name));
      disk.server.reshape(disk.device.shape());
      if (reshaped) reshaped();
      return;
    }
    stop.stop(disk.device.failure_reason() ? disk.device.failure_reason()->text
                                           : std::string("the disk is no longer available"));
  });
}

}  // namespace

void endpoints::remove_sockets() noexcept {
  for (const auto& path : unix_paths)
    ::unlink(path.c_str());
  unix_paths.clear();
}

asio::awaitable<void> serve_until_stopped(served_disk& disk, endpoints sockets, service_work work) {
  stop_switch stop(disk.runtime.control());
  async::nursery tasks(disk.runtime.control());
  follow_device(disk, std::move(work.reshaped), stop);
  for (auto& listener : sockets.listeners)
    disk.server.listen(std::move(listener));
  tasks.spawn(run_part(handle_signals(disk, stop), stop));
  tasks.spawn(run_part(disk.status.answer(disk), stop));
  if (const auto interval = cli::watchdog_interval())
    tasks.spawn(run_part(feed_watchdog(disk, *interval), stop));
  if (work.task) tasks.spawn(run_part(stop_after(std::move(work.task), stop), stop));
  if (!work.task_says_ready) {
    disk.is_ready = true;
    cli::notify_service_manager(fmt::format("READY=1\nSTATUS=serving {}", disk.name));
  }
  const auto reason = co_await stop.wait();
  log().info("{}: stopping: {}", disk.name, reason);
  cli::notify_service_manager("STOPPING=1\nSTATUS=waiting for clients");
  sockets.remove_sockets();
  tasks.spawn(run_part(give_up_backend(disk, nbd::server_options{}.drain_limit + grace), stop));
  // A second signal is still handled while the service stops.
  if (work.before_stop) co_await work.before_stop();
  if (!is_alive(disk.device.state())) co_await report_loss(disk);
  co_await disk.server.stop();
  tasks.cancel();
  co_await tasks.join();
  if (stop.error()) std::rethrow_exception(stop.error());
  const auto state = disk.device.state();
  const bool was_closed_here = state == blkfront::device_state::closed;
  if (!is_alive(state) && !was_closed_here)
    throw failure(disk.device.failure_reason().value_or(error{}));
}

}  // namespace xenpv::disk_app
