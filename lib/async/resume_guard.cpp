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
                           std::function<asio::awaitable<void>()> give_up_handles)
    : store_(store),
      suspends_(suspends),
      give_up_handles_(std::move(give_up_handles)),
      background_(control),
      idle_(control) {}

asio::awaitable<void> resume_guard::start() {
  // Every toolstack lets the guest write below `data`. The random suffix is needed because a
  // process in another container may have the same PID.
  marker_ = fmt::format("data/xenpv/{}-{:08x}", ::getpid(), std::random_device{}());
  co_await put_marker();
  own_domid_ = co_await store_.own_domid();
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
  log().debug("{}; only the watches can indicate a resume", problem);
  marker_.clear();
}

asio::awaitable<void> resume_guard::follow(watch_stream watch) {
  // Registering the watch causes the first event.
  for (bool is_first = true;; is_first = false) {
    try {
      (void)co_await watch.next();
    } catch (const std::exception& problem) {
      // The wait was cancelled, the store client was closed, or the connection to xenstored is
      // lost.
      log().debug("{}", problem.what());
      co_return;
    }
    if (is_first) continue;
    watch_fired_ = true;
    co_await check_and_log();
    // A cancellation during the check was ignored.
    if (!started_) co_return;
    co_await asio::this_coro::reset_cancellation_state(asio::enable_terminal_cancellation());
  }
}

asio::awaitable<void> resume_guard::check_and_log() {
  // An interrupted check could leave stale handles in use.
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  try {
    (void)co_await check();
  } catch (const std::exception& problem) {
    log().error("check for a resume: {}", problem.what());
  }
}

void resume_guard::check_soon() {
  if (started_) background_.spawn(check_and_log());
}

asio::awaitable<bool> resume_guard::has_resumed(const xen::suspend_reading& reading) {
  const bool watch_fired = std::exchange(watch_fired_, false);
  const auto current = co_await store_.own_domid();
  if (std::exchange(own_domid_, current) != current) co_return true;
  if (suspends_.is_new_incarnation(reading)) co_return true;
  // Without a marker, only the watch indicates a resume. It does not fire for any other reason.
  if (marker_.empty()) co_return watch_fired;
  const auto marker = co_await store_.read_if_exists(marker_);
  co_return !marker.has_value();
}

asio::awaitable<bool> resume_guard::check() {
  if (!started_) co_return false;
  const auto before = resumes_;
  while (busy_)
    co_await idle_.wait();
  // The check that was in progress has already handled the resume.
  if (resumes_ != before) co_return true;
  if (!started_) co_return false;
  busy_ = true;
  std::exception_ptr error;
  try {
    const auto reading = suspends_.reading();
    if (!is_unhandled_) is_unhandled_ = co_await has_resumed(reading);
    if (is_unhandled_) co_await carry_out();
    is_unhandled_ = false;
    suspends_.acknowledge(reading);
  } catch (...) {
    error = std::current_exception();
  }
  busy_ = false;
  idle_.notify();
  if (error) std::rethrow_exception(error);
  co_return resumes_ != before;
}

asio::awaitable<void> resume_guard::carry_out() {
  // Must come first: until then, any exit of this process triggers a kernel BUG.
  co_await give_up_handles_();
  ++resumes_;
  log().info("the guest was saved and restored; event channels reopened");
  co_await put_marker();
  // A callback may remove its own subscription or another one.
  const auto subscribers = *callbacks_;
  for (const auto& subscriber : subscribers)
    if (subscriber->is_subscribed) subscriber->callback();
}

asio::awaitable<void> resume_guard::stop() {
  if (!started_) co_return;
  std::string problem;
  try {
    (void)co_await check();
    // From now on, a missing marker must not be treated as a resume.
    started_ = false;
    while (busy_)
      co_await idle_.wait();
    if (!marker_.empty()) (void)co_await store_.remove(marker_);
  } catch (const std::exception& lost) {
    problem = lost.what();
  }
  started_ = false;
  if (!problem.empty()) log().debug("{}", problem);
  background_.cancel();
  co_await background_.join();
}

}  // namespace xenpv::async
