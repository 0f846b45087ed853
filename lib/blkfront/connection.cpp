#include "blkfront/connection.hpp"

#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>
#include <utility>

#include "xenpv/async/call_on.hpp"
#include "xenpv/async/run_on.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/xen/custodian.hpp"

namespace xenpv::blkfront {

namespace asio = boost::asio;
using async::call_on;

frontend::connection::connection(async::runtime& on, std::string device, options how,
                                 std::string identity)
    : on_(on),
      device_(std::move(device)),
      how_(how),
      recalled_(std::move(identity)),
      watchers_(on.control()),
      change_(on.control(), clock::time_point::max()),
      background_(on.control()),
      patience_(on.control()) {
  facts_.device = device_;
}

/// A directory that the toolstack removed reads as one we may not see: its parent is not ours.
async::asio::awaitable<std::optional<std::string>> frontend::connection::read_of_backend(
    std::string name) {
  try {
    co_return co_await on_.store().read_if_exists(facts_.backend + "/" + name);
  } catch (const failure& problem) {
    if (problem.code() != std::errc::permission_denied) throw;
  }
  co_return std::nullopt;
}

async::asio::awaitable<handshake_view> frontend::connection::look() {
  auto& store = on_.store();
  handshake_view view;
  const auto own = co_await store.read_if_exists(device_ + "/state");
  const auto backend = co_await read_of_backend("state");
  const auto online = co_await read_of_backend("online");
  if (own) view.own = wire::parse_xenbus_state(*own).value_or(wire::xenbus_state::unknown);
  if (backend)
    view.backend = wire::parse_xenbus_state(*backend).value_or(wire::xenbus_state::unknown);
  view.online = online.value_or("1") != "0";
  co_return view;
}

async::asio::awaitable<node_map> frontend::connection::read_backend() {
  node_map nodes;
  auto read = [&](xen::store_transaction& t) {
    nodes.clear();
    for (const auto name : backend_nodes())
      if (auto value = t.read_if_exists(fmt::format("{}/{}", facts_.backend, name)))
        nodes.emplace(name, std::move(*value));
  };
  co_await on_.store().transact(read);
  co_return nodes;
}

async::asio::awaitable<void> frontend::connection::set_state(wire::xenbus_state state) {
  co_await on_.store().write(device_ + "/state", fmt::format("{}", raw(state)));
}

void frontend::connection::wake() {
  dirty_ = true;
  change_.cancel();
}

async::asio::awaitable<void> frontend::connection::follow_watch(async::watch_stream watch) {
  for (;;) {
    try {
      const auto event = co_await watch.next();
      worth_reading_ = worth_reading_ || event.overflowed || event.path.ends_with("/sectors") ||
                       event.path.ends_with("/state") || event.path == facts_.backend;
    } catch (const failure& problem) {
      log().error("{}: {}", device_, problem.what());
      store_lost_ = true;
    }
    wake();
    if (store_lost_) co_return;
  }
}

async::asio::awaitable<void> frontend::connection::follow_nodes() {
  if (followed_ == facts_.backend) co_return;
  watchers_.cancel();
  co_await watchers_.join();
  auto backend = co_await on_.store().watch(facts_.backend);
  auto own = co_await on_.store().watch(device_ + "/backend");
  followed_ = facts_.backend;
  watchers_.spawn(follow_watch(std::move(backend)));
  watchers_.spawn(follow_watch(std::move(own)));
}

async::asio::awaitable<bool> frontend::connection::wait_for_change(std::chrono::nanoseconds limit) {
  const auto now = clock::now();
  // Beyond that the clock has no words for it.
  const auto until =
      limit < clock::time_point::max() - now ? now + limit : clock::time_point::max();
  while (!dirty_ && clock::now() < until) {
    change_.expires_at(until);
    (void)co_await change_.async_wait(asio::as_tuple(asio::use_awaitable));
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none)
      throw boost::system::system_error(asio::error::operation_aborted);
  }
  if (store_lost_)
    throw failure(errc::lost_connection, fmt::format("follow {}", device_), "xenstored is gone");
  co_return std::exchange(dirty_, false);
}

/// To unbind a port from before a resume is the kernel's BUG (xen/custodian.hpp). A resume that
/// comes later than this look cannot be known.
async::asio::awaitable<void> frontend::connection::settle_resume() {
  try {
    (void)co_await on_.check_resume();
  } catch (const failure& problem) {
    log().debug("{}: {}", device_, problem.what());
  }
}

queue_events frontend::connection::events_of_queue() {
  queue_events events;
  events.failed = [self = weak_from_this(), control = on_.control()](const error& why) {
    asio::post(control, [self, why] {
      if (const auto live = self.lock()) live->queue_failed(why);
    });
  };
  events.reshaped = [self = weak_from_this(), control = on_.control()](const blk::geometry& shape) {
    asio::post(control, [self, shape] {
      const auto live = self.lock();
      if (!live) return;
      live->shape_ = shape;
      if (live->changed_) live->changed_();
    });
  };
  return events;
}

void frontend::connection::queue_failed(const error& why) {
  const bool is_used = state_ == device_state::connected || state_ == device_state::recovering;
  if (!is_used || closing_) return;
  log().error("{}: {}", device_, why.text);
  become(device_state::failed, why);
  // What one queue cannot trust, the others cannot either: it is the same backend.
  background_.spawn(fail_queues(why));
}

void frontend::connection::become(device_state state, std::optional<error> why) {
  state_ = state;
  if (!reason_) reason_ = std::move(why);
  if (changed_) changed_();
}

async::asio::awaitable<void> frontend::connection::fail_queues(error why) {
  for (const auto& each : queues_) {
    auto fail = [each, why] { each->fail(why); };
    co_await call_on(each->executor(), fail);
  }
}

async::asio::awaitable<bool> frontend::connection::drain_queues(std::chrono::nanoseconds limit) {
  bool drained = true;
  // One limit for all of them.
  const auto until = clock::now() + limit;
  for (const auto& each : queues_) {
    auto drain = [&]() -> async::asio::awaitable<void> {
      drained = co_await each->drain(until - clock::now()) && drained;
    };
    co_await async::run_on(each->executor(), drain);
  }
  co_return drained;
}

async::asio::awaitable<void> frontend::connection::shut_queues(error why) {
  for (const auto& each : queues_) {
    auto shut = [each, why] { each->shut(why); };
    co_await call_on(each->executor(), shut);
  }
}

async::asio::awaitable<void> frontend::connection::close_queues() {
  co_await settle_resume();
  last_statistics_ = co_await statistics();
  for (const auto& each : queues_) {
    auto close = [each] { each->close_transport(); };
    co_await call_on(each->executor(), close);
  }
}

async::asio::awaitable<std::vector<queue_statistics>> frontend::connection::statistics() {
  if (!published_ && !last_statistics_.empty()) co_return last_statistics_;
  std::vector<queue_statistics> out;
  for (const auto& each : queues_) {
    auto take = [each] { return each->statistics(); };
    out.push_back(co_await call_on(each->executor(), take));
  }
  co_return out;
}

/// Closing, Closed, each with the backend's answer, or without it when it does not come.
async::asio::awaitable<void> frontend::connection::shake_hands_goodbye() {
  auto view = co_await look();
  // For each of the backend's answers; what else it does to its nodes meanwhile buys it no time.
  auto until = clock::now() + how_.close_deadline;
  for (;;) {
    const auto step = next_close_step(view);
    if (step == handshake_step::closed) break;
    if (step == handshake_step::wait) {
      const auto left = until - clock::now();
      const bool changed = left.count() > 0 && co_await wait_for_change(left);
      view = co_await look();
      view.waited_long = !changed;
      if (!changed) log().warn("{}: close: {}", device_, explain_wait(view, std::nullopt));
      continue;
    }
    until = clock::now() + how_.close_deadline;
    co_await set_state(step == handshake_step::set_closing ? wire::xenbus_state::closing
                                                           : wire::xenbus_state::closed);
    view = co_await look();
  }
}

async::asio::awaitable<void> frontend::connection::close() {
  if (std::exchange(closing_, true)) co_return;
  hook_ = {};
  patience_.cancel();
  background_.cancel();
  co_await background_.join();
  co_await settle_resume();
  if (state_ == device_state::connected && !co_await drain_queues(how_.close_deadline))
    log().warn("{}: closed with requests that the backend has not answered", device_);
  const auto why = make_error(std::make_error_code(std::errc::operation_canceled),
                              fmt::format("use {}", device_), "it was closed");
  co_await fail_queues(why);
  if (published_) {
    try {
      co_await shake_hands_goodbye();
    } catch (const failure& problem) {
      // Without xenstore there is nobody to say goodbye to.
      log().warn("{}: close: {}", device_, problem.what());
    }
  }
  co_await close_queues();
  published_ = false;
  watchers_.cancel();
  co_await watchers_.join();
  followed_.clear();
  if (auto* const custodian = on_.custodian()) custodian->clear_cleanup(device_);
  if (state_ == device_state::connected || state_ == device_state::recovering)
    state_ = device_state::closed;
}

}  // namespace xenpv::blkfront
