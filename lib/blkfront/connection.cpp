#include "blkfront/connection.hpp"

#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>
#include <utility>

#include "xenpv/async/shield.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::blkfront {

using event_kind = connection_event::kind;

frontend::connection::connection(async::guest_session& session, std::string device, options options,
                                 std::string identity)
    : session_(session),
      device_(std::move(device)),
      options_(options),
      expected_identity_(std::move(identity)),
      nodes_(session, device_),
      resources_(session),
      queues_(session, resources_),
      background_(session.control()),
      recovery_timer_(session.control()),
      closed_(session.control()) {
  facts_.device = device_;
}

asio::awaitable<void> frontend::connection::open() {
  std::function<asio::awaitable<void>()> clean_up = [this] { return close_down(); };
  co_await async::clean_up_on_failure(connect(), std::move(clean_up));
}

asio::awaitable<void> frontend::connection::connect() {
  co_await load_expected_disk();
  hook_ = session_.on_resume([self = weak_from_this()] {
    const auto live = self.lock();
    if (live && live->machine_.interrupt(interruption::resumed)) live->nodes_.wake();
  });
  auto action = step({event_kind::open, {}});
  while (action.step != connection_step::rest && machine_.state() != connection_state::connected)
    action = step(co_await perform(action));
  if (machine_.state() != connection_state::connected) {
    if (attempt_failure_) std::rethrow_exception(attempt_failure_);
    throw failure(end_reason_.value_or(problem_));
  }
  background_.spawn(monitor(action));
}

/// Runs until the device reaches a final state or the connection to xenstored is lost. Without
/// xenstored the ring still works, but resize, unplug and recovery do not.
asio::awaitable<void> frontend::connection::monitor(connection_action action) {
  while (action.step != connection_step::rest) {
    const auto event = co_await perform(action);
    if (nodes_.is_lost() && machine_.is_in_use()) co_return;
    action = step(event);
  }
}

asio::awaitable<void> frontend::connection::close() {
  if (close_progress_ == progress::done) co_return;
  co_await async::shielded(close_down());
}

asio::awaitable<void> frontend::connection::close_down() {
  const auto self = shared_from_this();
  if (close_progress_ != progress::none) {
    while (close_progress_ != progress::done)
      co_await closed_.wait();
    co_return;
  }
  close_progress_ = progress::cancelling;
  hook_ = {};
  recovery_timer_.cancel();
  background_.cancel();
  try {
    co_await background_.join();
  } catch (const std::exception& problem) {
    log().error("{}: {}", device_, problem.what());
  }
  close_progress_ = progress::closing;
  auto action = step({event_kind::close, {}});
  while (action.step != connection_step::rest)
    action = step(co_await perform(action));
  co_await nodes_.close();
  close_progress_ = progress::done;
  closed_.notify();
}

asio::awaitable<void> frontend::connection::close_abandoned(std::shared_ptr<connection> self) {
  co_await self->close_down();
}

void frontend::connection::abandon() {
  session_.spawn(close_abandoned(shared_from_this()));
}

connection_action frontend::connection::step(const connection_event& event) {
  const auto before = machine_.state();
  const auto action = machine_.next(event);
  if (machine_.state() != before) follow_state(before);
  return action;
}

/// Derives the frontend's public state from the state machine.
void frontend::connection::follow_state(connection_state before) {
  switch (machine_.state()) {
    case connection_state::connected:
      if (before == connection_state::recovering || before == connection_state::absent)
        return recovered();
      return become(device_state::connected, std::nullopt);
    case connection_state::parting:
      return begin_loss();
    case connection_state::recovering:
      if (before != connection_state::parting) return begin_loss();
      return;
    case connection_state::unplugging:
      recovery_timer_.cancel();
      return;
    case connection_state::failing:
      recovery_timer_.cancel();
      if (!end_reason_) end_reason_ = problem_;
      log().error("{}: the disk failed: {}", device_, end_reason_->text);
      return become(device_state::failed, end_reason_);
    case connection_state::unplugged:
      return become(device_state::unplugged, end_reason_);
    case connection_state::closed:
      state_ = device_state::closed;
      return;
    case connection_state::unopened:
    case connection_state::connecting:
    case connection_state::offered:
    case connection_state::absent:
    case connection_state::closing:
    case connection_state::failed:
      return;
  }
}

void frontend::connection::become(device_state state, const std::optional<error>& reason) {
  if (state_ == state) return;
  state_ = state;
  if (!reason_) reason_ = reason;
  notify_change();
}

void frontend::connection::notify_change() {
  if (!changed_) return;
  // Call a copy because the callback may replace itself.
  const auto callback = changed_;
  try {
    callback();
  } catch (const std::exception& problem) {
    log().error("{}: the change callback threw: {}", device_, problem.what());
  }
}

connection_event frontend::connection::record_failure(connection_step step, error problem) {
  const bool is_wrong_disk = problem.code == errc::wrong_disk;
  problem_ = std::move(problem);
  attempt_failure_ = std::current_exception();
  if (machine_.is_recovering()) {
    log().info("{}: not reconnected yet: {}", device_, problem_.text);
  } else if (!machine_.is_opening()) {
    // Repeated reads of xenstore may fail for the same reason: log it only once.
    const auto text = fmt::format("{}: {}", to_string(step), problem_.text);
    if (std::exchange(logged_problem_, text) != text) log().warn("{}: {}", device_, text);
  }
  return {is_wrong_disk ? event_kind::wrong_disk : event_kind::failed, {}};
}

asio::awaitable<connection_event> frontend::connection::perform(connection_action action) {
  const auto step = action.step;
  try {
    co_return co_await carry_out(action);
  } catch (const failure& problem) {
    co_return record_failure(step, {problem.code(), problem.what()});
  } catch (const boost::system::system_error& problem) {
    const bool is_cancelled = problem.code() == asio::error::operation_aborted;
    if (is_cancelled && close_progress_ != progress::closing) throw;
    co_return record_failure(step, {problem.code(), problem.what()});
  } catch (const std::exception& problem) {
    co_return record_failure(step, {std::make_error_code(std::errc::io_error), problem.what()});
  }
}

asio::awaitable<connection_event> frontend::connection::carry_out(connection_action action) {
  connection_event event;
  switch (action.step) {
    case connection_step::read_device:
      co_await read_device();
      break;
    case connection_step::look:
      co_return co_await read_view();
    case connection_step::confirm:
      co_await check_resume();
      co_return co_await read_view();
    case connection_step::wait:
      co_return co_await wait();
    case connection_step::set_closing:
      co_await set_state(wire::xenbus_state::closing);
      break;
    case connection_step::set_closed:
      co_await set_state(wire::xenbus_state::closed);
      break;
    case connection_step::set_initialising:
      co_await set_state(wire::xenbus_state::initialising);
      break;
    case connection_step::publish:
      co_await publish();
      break;
    case connection_step::finish:
      co_await finish();
      break;
    case connection_step::reread:
      co_await reread();
      break;
    case connection_step::back_off:
      co_await back_off();
      break;
    case connection_step::abandon:
      throw failure(errc::lost_connection, fmt::format("connect {}", device_), action.text);
    case connection_step::suspend:
    case connection_step::withdraw:
    case connection_step::rebind:
      co_await suspend_queues(action);
      break;
    case connection_step::pause:
      co_await pause();
      break;
    case connection_step::shut:
      co_await shut(action);
      break;
    case connection_step::drain:
      co_await drain();
      break;
    case connection_step::fail:
      co_await fail();
      break;
    case connection_step::part:
      event.what = event_kind::view;
      event.view = co_await close_handshake();
      break;
    case connection_step::release:
      co_await release();
      break;
    case connection_step::rest:
      break;
  }
  co_return event;
}

asio::awaitable<std::string> frontend::connection::identity() {
  const auto own = co_await session_.store().own_domid();
  co_return known_ ? to_text({*known_, own ? raw(*own) : 0U}) : std::string();
}

asio::awaitable<std::vector<queue_statistics>> frontend::connection::statistics() {
  if (!last_statistics_.empty()) co_return last_statistics_;
  co_return co_await queues_.statistics();
}

}  // namespace xenpv::blkfront
