// A device whose backend is lost: its queues keep their requests until another backend is there, or
// it turns out that there will be none.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "blkfront/connection.hpp"
#include "xenpv/async/call_on.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/base/parse.hpp"

namespace xenpv::blkfront {

namespace asio = boost::asio;
using async::call_on;
using namespace std::chrono_literals;

namespace {

/// Between two attempts that failed, unless something changes before.
constexpr std::chrono::nanoseconds first_pause = 20ms;
constexpr std::chrono::nanoseconds longest_pause = 2s;

/// What an attempt may take, at first and at most (and never more than the connect deadline).
constexpr std::chrono::nanoseconds first_attempt = 1s;
constexpr std::chrono::nanoseconds longest_attempt = 60s;

/// How often the patience of those who wait is looked at. Longer gaps are the guest's not running.
constexpr std::chrono::nanoseconds longest_tick = 1s;

}  // namespace

/// What it means that the ring is dead, though nobody said goodbye. False: the device is at its
/// end.
asio::awaitable<bool> frontend::connection::follow_loss(const handshake_view& view) {
  // First: a resume looks like this, too, and must be known before any port is touched.
  co_await settle_resume();
  if (resumed_) co_return co_await recover("the guest was saved and restored");
  const bool unplugged = co_await is_unplugged();
  if (unplugged) {
    co_await unplug("the toolstack took the disk away by force");
    co_return false;
  }
  if (!view.backend) co_return co_await recover("the backend's directory vanished");
  if (view.own != wire::xenbus_state::connected)
    co_return co_await recover("the toolstack built the device anew");
  co_return co_await recover("the backend gave the connection up or restarted");
}

/// The device's directory is the toolstack's: without it there is no disk to come back.
asio::awaitable<bool> frontend::connection::is_unplugged() {
  const auto backend = co_await on_.store().read_if_exists(device_ + "/backend");
  if (!backend) co_return true;
  const auto view = co_await look();
  co_return !view.online;
}

asio::awaitable<void> frontend::connection::hold_queues(bool keep_ports) {
  co_await settle_resume();
  for (const auto& each : queues_) {
    auto hold = [each, keep_ports] { return each->suspend(keep_ports, connection_loss::abrupt); };
    to_replay_ += co_await call_on(each->executor(), hold);
  }
  if (recovery_.timed_out) co_await stop_holding();
}

asio::awaitable<void> frontend::connection::stop_holding() {
  const auto why = make_error(errc::timed_out, fmt::format("use {}", device_),
                              fmt::format("its backend did not come back within {}",
                                          format_duration(how_.recovery_timeout)));
  for (const auto& each : queues_) {
    auto stop = [each, why] { each->fail_queued(why); };
    co_await call_on(each->executor(), stop);
  }
}

/// Until the device is connected again: true. False: it has come to its end.
asio::awaitable<bool> frontend::connection::recover(std::string reason) {
  log().warn("{}: {}; requests wait for it to come back", device_, reason);
  lost_at_ = clock::now();
  to_replay_ = 0;
  may_have_moved_ = false;
  recovery_.last_reason = std::move(reason);
  recovery_.timed_out = false;
  co_await hold_queues(true);
  // A backend that lied, found out by the last look at its ring.
  if (state_ == device_state::failed) co_return false;
  become(device_state::recovering, std::nullopt);
  start_patience();
  auto pause = first_pause;
  attempt_limit_ = first_attempt;
  for (;;) {
    may_have_moved_ = std::exchange(resumed_, false) || may_have_moved_;
    const auto problem = co_await try_attempt();
    // A backend that lied as soon as it was connected.
    if (state_ == device_state::failed) co_return false;
    if (!problem && !resumed_) break;
    co_await hold_queues(true);
    if (resumed_) continue;
    if (problem->code == errc::wrong_disk) {
      patience_.cancel();
      co_await end(device_state::failed, *problem);
      co_return false;
    }
    const bool unplugged = co_await is_unplugged();
    if (unplugged) {
      patience_.cancel();
      co_await unplug("the toolstack took the disk away");
      co_return false;
    }
    log().info("{}: not back yet: {}", device_, problem->text);
    (void)co_await wait_for_change(pause);
    pause = std::min(2 * pause, longest_pause);
    attempt_limit_ = std::min<std::chrono::nanoseconds>(2 * attempt_limit_, longest_attempt);
  }
  recovered();
  co_return true;
}

asio::awaitable<std::optional<error>> frontend::connection::try_attempt() {
  try {
    co_await attempt();
  } catch (const failure& problem) {
    if (store_lost_) throw;
    co_return error{problem.code(), problem.what()};
  }
  co_return std::nullopt;
}

void frontend::connection::recovered() {
  patience_.cancel();
  const std::chrono::nanoseconds pause = clock::now() - lost_at_;
  ++recovery_.reconnects;
  recovery_.replayed += to_replay_;
  recovery_.last_pause = pause;
  recovery_.longest_pause = std::max(recovery_.longest_pause, pause);
  recovery_.timed_out = false;
  log().info("{}: back after {}; {} unanswered requests were sent again", device_,
             format_duration(pause), to_replay_);
  become(device_state::connected, std::nullopt);
}

void frontend::connection::start_patience() {
  recovery_.timed_out = false;
  if (how_.recovery_timeout.count() == 0) return;
  patience_left_ = how_.recovery_timeout;
  patience_tick(clock::now());
}

/// Counts ticks, not time: a guest that does not run makes nobody wait.
void frontend::connection::patience_tick(clock::time_point last) {
  const auto tick =
      std::clamp<std::chrono::nanoseconds>(how_.recovery_timeout / 8, 1ms, longest_tick);
  const auto now = clock::now();
  patience_left_ -= std::min<std::chrono::nanoseconds>(now - last, 2 * tick);
  if (patience_left_ <= 0ns) {
    log().error("{}: its backend did not come back within {}: requests fail until it does", device_,
                format_duration(how_.recovery_timeout));
    recovery_.timed_out = true;
    background_.spawn(stop_holding());
    if (changed_) changed_();
    return;
  }
  patience_.expires_after(std::min(tick, patience_left_));
  patience_.async_wait([self = weak_from_this(), now](boost::system::error_code code) {
    const auto live = self.lock();
    if (code || !live || live->state_ != device_state::recovering) return;
    live->patience_tick(now);
  });
}

}  // namespace xenpv::blkfront
