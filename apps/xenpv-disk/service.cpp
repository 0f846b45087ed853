#include "service.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>
#include <csignal>

#include "control_socket.hpp"
#include "xenpv/async/call_on.hpp"
#include "xenpv/async/nursery.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/cli/service_manager.hpp"

namespace xenpv::disk_app {
namespace {

namespace asio = async::asio;

/// What can end a service, and waiting for the first of it.
class stop_switch {
 public:
  explicit stop_switch(const asio::any_io_executor& executor)
      : changed_(executor, std::chrono::steady_clock::time_point::max()) {}

  void stop(std::string why) {
    if (why_.empty()) why_ = std::move(why);
    changed_.cancel();
  }
  /// The same, and the error is to come out of the service.
  void fail(std::exception_ptr problem) {
    error_ = std::move(problem);
    stop("it failed");
  }
  [[nodiscard]] bool is_stopped() const noexcept { return !why_.empty(); }
  [[nodiscard]] const std::exception_ptr& error() const noexcept { return error_; }
  asio::awaitable<std::string> wait() {
    while (why_.empty())
      (void)co_await changed_.async_wait(asio::as_tuple(asio::use_awaitable));
    co_return why_;
  }

 private:
  asio::steady_timer changed_;
  std::string why_;
  std::exception_ptr error_;
};

/// A part of the service: without it, there is none. The others go on meanwhile, so that clients
/// can drain and signals are heard.
asio::awaitable<void> run_part(asio::awaitable<void> part, stop_switch& stop) {
  try {
    co_await std::move(part);
  } catch (...) {
    if (stop.is_stopped()) throw;
    stop.fail(std::current_exception());
  }
}

/// It may be lost at the moment, but not for good.
bool is_alive(blkfront::device_state state) {
  return state == blkfront::device_state::connected || state == blkfront::device_state::recovering;
}

/// How long clients of a disk that is gone are still listened to, and how often it is asked whether
/// there are any. The device answers with ESHUTDOWN; a client whose requests were all answered in
/// time sends the next ones after that, and would only see its connection end.
constexpr std::chrono::milliseconds last_words(1000);
constexpr std::chrono::milliseconds last_words_step(20);

asio::awaitable<void> tell_clients(served_disk& disk) {
  asio::steady_timer timer(disk.on.control());
  for (auto spent = last_words_step; spent <= last_words; spent += last_words_step) {
    if (disk.server.statistics().connections == 0) co_return;
    timer.expires_after(last_words_step);
    co_await timer.async_wait(asio::use_awaitable);
  }
}

/// What a backend gets to answer requests of clients that were cut off.
constexpr std::chrono::seconds grace(2);

/// Closes the disk under clients whose requests are not answered, so that a backend that stalls
/// does not hold up the end. Cancelled when they all are.
asio::awaitable<void> give_up_backend(served_disk& disk, std::chrono::nanoseconds patience) {
  asio::steady_timer timer(disk.on.control(), patience);
  co_await timer.async_wait(asio::use_awaitable);
  if (!is_alive(disk.device.state())) co_return;
  log().warn("{}: the backend does not answer; the disk is closed with requests in flight",
             disk.name);
  // Half a close is none.
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  co_await disk.device.close();
}

/// The first signal stops the service, the second cuts clients off.
asio::awaitable<void> heed_signals(served_disk& disk, stop_switch& stop) {
  asio::signal_set signals(disk.on.control(), SIGTERM, SIGINT);
  const auto first = co_await signals.async_wait(asio::use_awaitable);
  stop.stop(fmt::format("signal {}", first));
  co_await signals.async_wait(asio::use_awaitable);
  disk.server.hang_up();
  co_await give_up_backend(disk, grace);
}

/// Tells the service manager that this server is alive for as long as each of its threads answers.
asio::awaitable<void> feed_watchdog(served_disk& disk, std::chrono::microseconds interval) {
  asio::steady_timer timer(disk.on.control());
  for (;;) {
    for (std::size_t i = 0; i < disk.device.queue_count(); ++i) {
      auto nothing = [] {};
      co_await async::call_on(disk.device.queue(i).executor(), nothing);
    }
    cli::notify_service_manager("WATCHDOG=1");
    timer.expires_after(interval);
    co_await timer.async_wait(asio::use_awaitable);
  }
}

asio::awaitable<void> stop_after(std::function<asio::awaitable<void>()> task, stop_switch& stop) {
  co_await task();
  stop.stop("done");
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
                                           : std::string("the disk is gone"));
  });
}

}  // namespace

void endpoints::remove_sockets() noexcept {
  for (const auto& path : unix_paths)
    ::unlink(path.c_str());
  unix_paths.clear();
}

asio::awaitable<void> serve_until_stopped(served_disk& disk, endpoints at, service_work work) {
  stop_switch stop(disk.on.control());
  async::nursery tasks(disk.on.control());
  follow_device(disk, std::move(work.reshaped), stop);
  for (auto& listener : at.listeners)
    disk.server.listen(std::move(listener));
  tasks.spawn(run_part(heed_signals(disk, stop), stop));
  tasks.spawn(run_part(disk.status.answer(disk), stop));
  if (const auto interval = cli::watchdog_interval())
    tasks.spawn(run_part(feed_watchdog(disk, *interval), stop));
  if (work.task) tasks.spawn(run_part(stop_after(std::move(work.task), stop), stop));
  if (!work.task_says_ready) {
    disk.is_ready = true;
    cli::notify_service_manager(fmt::format("READY=1\nSTATUS=serving {}", disk.name));
  }
  const auto why = co_await stop.wait();
  log().info("{}: stopping: {}", disk.name, why);
  cli::notify_service_manager("STOPPING=1\nSTATUS=waiting for clients");
  at.remove_sockets();
  tasks.spawn(run_part(give_up_backend(disk, nbd::server_options{}.drain_limit + grace), stop));
  // Still with ears for the second signal.
  if (work.take_leave) co_await work.take_leave();
  if (!is_alive(disk.device.state())) co_await tell_clients(disk);
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
