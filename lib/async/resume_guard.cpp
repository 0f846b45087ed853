#include "async/resume_guard.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>
#include <random>
#include <utility>

#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::async {

resume_guard::resume_guard(const asio::any_io_executor& control, store_client& store,
                           xen::suspend_clock& suspends,
                           std::function<asio::awaitable<void>()> handles)
    : store_(store),
      suspends_(suspends),
      handles_(std::move(handles)),
      background_(control),
      idle_(control, asio::steady_timer::time_point::max()) {}

asio::awaitable<void> resume_guard::start() {
  // The part of a guest's own tree that every toolstack lets the guest write to. The number alone
  // may be that of a process in another container.
  marker_ = fmt::format("data/xenpv/{}-{:08x}", ::getpid(), std::random_device{}());
  co_await put_marker();
  number_ = co_await store_.own_domid();
  auto watch = co_await store_.watch("domid");
  started_ = true;
  background_.spawn(follow(std::move(watch)));
}

asio::awaitable<void> resume_guard::put_marker() {
  if (marker_.empty()) co_return;
  std::string problem;
  try {
    co_await store_.write(marker_, "1");
  } catch (const failure& refused) {
    if (refused.code() == errc::lost_connection) throw;
    problem = refused.what();
  }
  if (problem.empty()) co_return;
  log().debug("{}; a resume is told by the watches alone", problem);
  marker_.clear();
}

asio::awaitable<void> resume_guard::follow(watch_stream watch) {
  // The first event is that of the registration.
  (void)co_await watch.next();
  for (;;) {
    try {
      (void)co_await watch.next();
    } catch (const failure& problem) {
      log().debug("{}", problem.what());
      co_return;
    }
    noticed_ = true;
    co_await look();
    co_await asio::this_coro::reset_cancellation_state(asio::enable_terminal_cancellation());
  }
}

asio::awaitable<void> resume_guard::look() {
  // Half of it would leave handles that nobody gave up.
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  try {
    (void)co_await check();
  } catch (const failure& problem) {
    log().error("after a resume: {}", problem.what());
  }
}

void resume_guard::doubt() {
  if (started_) background_.spawn(look());
}

asio::awaitable<bool> resume_guard::has_resumed(const xen::suspend_reading& reading) {
  const bool noticed = std::exchange(noticed_, false);
  const auto number = co_await store_.own_domid();
  if (std::exchange(number_, number) != number) co_return true;
  if (suspends_.is_new_incarnation(reading)) co_return true;
  // Without a node of ours, a watch that fires for no other reason has to do.
  if (marker_.empty()) co_return noticed;
  const auto marker = co_await store_.read_if_exists(marker_);
  co_return !marker.has_value();
}

asio::awaitable<bool> resume_guard::check() {
  if (!started_) co_return false;
  const auto before = resumes_;
  while (busy_)
    (void)co_await idle_.async_wait(asio::as_tuple(asio::use_awaitable));
  // By whoever was looking when we came.
  if (resumes_ != before) co_return true;
  if (!started_) co_return false;
  busy_ = true;
  std::exception_ptr error;
  try {
    const auto reading = suspends_.reading();
    const bool resumed = co_await has_resumed(reading);
    if (resumed) co_await carry_out();
    suspends_.settle(reading);
  } catch (...) {
    error = std::current_exception();
  }
  busy_ = false;
  idle_.cancel();
  if (error) std::rethrow_exception(error);
  co_return resumes_ != before;
}

asio::awaitable<void> resume_guard::carry_out() {
  // First of all: until then, whatever ends this process ends in the kernel's BUG.
  co_await handles_();
  ++resumes_;
  log().info("the guest was saved and restored: event channels are opened anew");
  co_await put_marker();
  const auto told = *callbacks_;
  for (const auto& callback : told)
    callback();
}

asio::awaitable<void> resume_guard::stop() {
  if (!started_) co_return;
  std::string problem;
  try {
    (void)co_await check();
    // Nobody may take the missing node for a resume.
    started_ = false;
    while (busy_)
      (void)co_await idle_.async_wait(asio::as_tuple(asio::use_awaitable));
    if (!marker_.empty()) (void)co_await store_.remove(marker_);
  } catch (const failure& lost) {
    problem = lost.what();
  }
  started_ = false;
  if (!problem.empty()) log().debug("{}", problem);
  background_.cancel();
  co_await background_.join();
}

}  // namespace xenpv::async
