// Recovery from a lost backend and the teardown of a device: the steps and their bookkeeping.
#include <fmt/format.h>

#include <boost/asio/post.hpp>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/parse.hpp"
#include "blkfront/connection.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/xen/custodian.hpp"

namespace xenpv::blkfront {

using namespace std::chrono_literals;

namespace {

/// Initial and maximum pause after a failed attempt. A change in xenstore ends the pause early.
constexpr std::chrono::nanoseconds first_pause = 20ms;
constexpr std::chrono::nanoseconds longest_pause = 2s;

/// Initial and maximum duration of an attempt, which never exceeds the connect deadline.
constexpr std::chrono::nanoseconds first_attempt = 1s;
constexpr std::chrono::nanoseconds longest_attempt = 60s;

/// The maximum interval for counting the recovery time. A longer gap means that the guest did not
/// run.
constexpr std::chrono::nanoseconds longest_tick = 1s;

/// How long requests in flight may take when the toolstack detaches the disk. The toolstack waits
/// only briefly.
constexpr std::chrono::nanoseconds unplug_limit = 3s;

}  // namespace

/// Call before unbinding ports: unbinding a port that was bound before a resume triggers a kernel
/// BUG (xen/custodian.hpp). A resume after this check is not detected.
asio::awaitable<void> frontend::connection::check_resume() {
  try {
    (void)co_await session_.check_resume();
  } catch (const failure& problem) {
    log().debug("{}: {}", device_, problem.what());
  }
}

asio::awaitable<void> frontend::connection::suspend_queues(connection_action action) {
  co_await check_resume();
  const bool keep_ports = action.step != connection_step::rebind;
  to_replay_ += co_await queues_.suspend(keep_ports, action.loss);
  if (machine_.state() == connection_state::absent) co_await fail_waiting();
  // Requests wait from this point on, so report the state only now.
  if (machine_.is_recovering() && state_ != device_state::failed)
    become(device_state::recovering, std::nullopt);
}

asio::awaitable<void> frontend::connection::fail_waiting() {
  const auto reason = make_error(errc::timed_out, fmt::format("use {}", device_),
                                 fmt::format("its backend did not return within {}",
                                             format_duration(options_.recovery_timeout)));
  co_await queues_.call_all(&frontend_queue::fail_queued, reason);
}

asio::awaitable<void> frontend::connection::pause() {
  (void)co_await nodes_.wait_for_change(pause_);
  pause_ = std::min(2 * pause_, longest_pause);
  attempt_limit_ = std::min(2 * attempt_limit_, longest_attempt);
}

asio::awaitable<void> frontend::connection::shut(connection_action action) {
  // ESHUTDOWN, as defined by NBD and returned by the kernel for a removed disk.
  const std::error_code shut_down(ESHUTDOWN, std::generic_category());
  end_reason_ = make_error(shut_down, fmt::format("use {}", device_), action.text);
  log().error("{}: {}", device_, action.text);
  co_await queues_.call_all(&frontend_queue::shut, *end_reason_);
}

asio::awaitable<void> frontend::connection::drain() {
  const bool is_unplug = machine_.state() == connection_state::unplugging;
  const auto limit =
      is_unplug ? std::min(options_.close_deadline, unplug_limit) : options_.close_deadline;
  const bool drained = co_await queues_.drain(limit);
  if (!drained) log().warn("{}: closed with requests in flight", device_);
}

asio::awaitable<void> frontend::connection::fail() {
  auto reason = end_reason_.value_or(problem_);
  if (machine_.state() == connection_state::closing)
    reason = make_error(std::make_error_code(std::errc::operation_canceled),
                        fmt::format("use {}", device_), "the device was closed");
  co_await queues_.call_all(&frontend_queue::fail, reason);
}

/// Writes Closing, then Closed. After each, waits until the backend acknowledges the state or the
/// deadline passes.
asio::awaitable<device_view> frontend::connection::close_handshake() {
  auto view = co_await nodes_.read_view();
  // The deadline for the backend's next state change. Changes to other nodes do not extend it.
  auto until = clock::now() + options_.close_deadline;
  for (;;) {
    const auto step = next_close_step(view.states);
    if (step == handshake_step::closed) break;
    const bool is_parting = machine_.state() == connection_state::parting;
    if (is_parting && machine_.is_interrupted()) co_return view;
    if (step != handshake_step::wait) {
      until = clock::now() + options_.close_deadline;
      const bool written = co_await nodes_.set_state(step == handshake_step::set_closing
                                                         ? wire::xenbus_state::closing
                                                         : wire::xenbus_state::closed);
      // The toolstack removed the device, so there is nothing left to close.
      if (!written) break;
    }
    bool changed = true;
    if (step == handshake_step::wait) {
      const auto left = until - clock::now();
      changed = left.count() > 0 && co_await nodes_.wait_for_change(left);
    }
    const bool was_rebuilt = view.rebuilt;
    view = co_await nodes_.read_view();
    view.rebuilt = view.rebuilt || was_rebuilt;
    view.states.waited_long = !changed;
    if (!changed) log().warn("{}: close: {}", device_, explain_wait(view.states, std::nullopt));
  }
  // Clear the cleanup only now: if this process dies earlier, the custodian must close the device.
  auto* const custodian = session_.custodian();
  if (custodian != nullptr && machine_.state() != connection_state::parting) {
    try {
      custodian->clear_cleanup(device_);
    } catch (const failure& problem) {
      log().debug("{}: {}", device_, problem.what());
    }
  }
  co_return view;
}

asio::awaitable<void> frontend::connection::release() {
  co_await check_resume();
  const bool is_retry = machine_.is_opening();
  if (!is_retry) last_statistics_ = co_await queues_.statistics();
  co_await queues_.call_all(&frontend_queue::close_transport);
  resources_.set_pages(0);
  resources_.give_cpus_back();
  if (is_retry) queues_.clear();
}

void frontend::connection::begin_loss() {
  const auto reason = machine_.state() == connection_state::parting ? loss_reason::backend_closed
                                                                    : machine_.reason();
  recovery_.last_reason = to_string(reason);
  log().warn("{}: {}; queueing requests until reconnected", device_, recovery_.last_reason);
  lost_at_ = clock::now();
  to_replay_ = 0;
  pause_ = first_pause;
  attempt_limit_ = first_attempt;
  start_recovery_timer();
}

void frontend::connection::recovered() {
  recovery_timer_.cancel();
  const std::chrono::nanoseconds pause = clock::now() - lost_at_;
  ++recovery_.reconnects;
  recovery_.replayed += to_replay_;
  recovery_.last_pause = pause;
  recovery_.longest_pause = std::max(recovery_.longest_pause, pause);
  recovery_.timed_out = false;
  log().info("{}: reconnected after {}; {} unanswered requests were resent", device_,
             format_duration(pause), to_replay_);
  become(device_state::connected, std::nullopt);
}

void frontend::connection::start_recovery_timer() {
  recovery_.timed_out = false;
  if (options_.recovery_timeout.count() == 0) return;
  recovery_time_left_ = options_.recovery_timeout;
  recovery_tick(clock::now());
}

/// Counts ticks instead of wall time in order to exclude time during which the guest did not run.
void frontend::connection::recovery_tick(clock::time_point last) {
  const auto tick =
      std::clamp<std::chrono::nanoseconds>(options_.recovery_timeout / 8, 1ms, longest_tick);
  const auto now = clock::now();
  recovery_time_left_ -= std::min<std::chrono::nanoseconds>(now - last, 2 * tick);
  // interrupt() returns false while the old backend is still closing.
  if (recovery_time_left_ <= 0ns && machine_.interrupt(interruption::out_of_time)) {
    log().error("{}: its backend did not return within {}: requests fail until it returns", device_,
                format_duration(options_.recovery_timeout));
    recovery_.timed_out = true;
    background_.spawn(fail_waiting());
    return notify_change();
  }
  recovery_timer_.expires_after(recovery_time_left_ > 0ns ? std::min(tick, recovery_time_left_)
                                                          : tick);
  recovery_timer_.async_wait([self = weak_from_this(), now](boost::system::error_code code) {
    const auto live = self.lock();
    if (code || !live) return;
    const bool is_lost =
        live->machine_.is_recovering() || live->machine_.state() == connection_state::parting;
    if (is_lost) live->recovery_tick(now);
  });
}

queue_events frontend::connection::make_queue_events() {
  queue_events events;
  events.failed = [self = weak_from_this(), control = session_.control()](const error& reason) {
    asio::post(control, [self, reason] {
      if (const auto live = self.lock()) live->queue_failed(reason);
    });
  };
  events.geometry_changed = [self = weak_from_this(),
                             control = session_.control()](const blk::geometry& shape) {
    asio::post(control, [self, shape] {
      const auto live = self.lock();
      if (!live) return;
      live->shape_ = shape;
      live->notify_change();
    });
  };
  events.flush_ignored = [self = weak_from_this(), control = session_.control()] {
    asio::post(control, [self] {
      if (const auto live = self.lock()) live->ignore_flush();
    });
  };
  return events;
}

void frontend::connection::queue_failed(const error& reason) {
  if (state_ == device_state::failed || !machine_.interrupt(interruption::distrusted)) return;
  end_reason_ = reason;
  become(device_state::failed, reason);
  nodes_.wake();
}

}  // namespace xenpv::blkfront
