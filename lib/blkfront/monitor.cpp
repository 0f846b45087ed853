// What happens to a connected device: resize, unplug, a backend that goes away.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "blkfront/connection.hpp"
#include "xenpv/async/call_on.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/base/parse.hpp"
#include "xenpv/xen/custodian.hpp"

namespace xenpv::blkfront {

namespace asio = boost::asio;
using async::call_on;

namespace {

/// Between a look at xenstore that failed and the next.
constexpr std::chrono::milliseconds second_look(20);

/// What requests in flight get to end when the toolstack takes the disk away: it waits, too, and
/// not for long.
constexpr std::chrono::nanoseconds unplug_limit = std::chrono::seconds(3);

}  // namespace

asio::awaitable<void> frontend::connection::monitor() {
  std::string known_problem;
  for (;;) {
    std::string problem;
    bool goes_on = true;
    try {
      (void)co_await wait_for_change(std::chrono::nanoseconds::max());
      goes_on = co_await follow(std::exchange(worth_reading_, false));
    } catch (const failure& thrown) {
      problem = thrown.what();
    }
    // The ring works without xenstore; only resize, unplug and recovery do not.
    if (store_lost_) {
      log().error("{}: {}", device_, problem);
      co_return;
    }
    if (!goes_on) co_return;
    if (problem.empty()) continue;
    // Something changed while it was being read, most likely: then another look shows what.
    if (std::exchange(known_problem, problem) != problem) log().warn("{}: {}", device_, problem);
    co_await back_off(second_look);
    worth_reading_ = true;
    wake();
  }
}

/// Does what the states call for. False: the device has come to its end.
asio::awaitable<bool> frontend::connection::follow(bool worth_reading) {
  if (resumed_) co_return co_await recover("the guest was saved and restored");
  const auto view = co_await look();
  switch (machine_.next(view)) {
    case handshake_step::look_again:
      if (worth_reading) co_await look_again();
      co_return true;
    case handshake_step::close:
      if (view.online) co_return co_await recover("the backend closed the connection");
      co_await unplug("the toolstack took the disk away");
      co_return false;
    case handshake_step::lost:
      co_return co_await follow_loss(view);
    case handshake_step::wait:
    case handshake_step::set_closing:
    case handshake_step::set_closed:
    case handshake_step::set_initialising:
    case handshake_step::publish:
    case handshake_step::finish:
    case handshake_step::unplugged:
    case handshake_step::closed:
      co_return true;
  }
  co_return true;
}

asio::awaitable<void> frontend::connection::unplug(std::string_view how) {
  // NBD's ESHUTDOWN, and what the kernel says of a disk that is gone.
  const std::error_code shut_down(ESHUTDOWN, std::generic_category());
  const auto why = make_error(shut_down, fmt::format("use {}", device_), how);
  co_await shut_queues(why);
  // Without its directory the backend answers nobody.
  const auto view = co_await look();
  if (view.backend) (void)co_await drain_queues(std::min(how_.close_deadline, unplug_limit));
  co_await end(device_state::unplugged, why);
}

asio::awaitable<void> frontend::connection::look_again() {
  const auto nodes = co_await read_backend();
  const auto properties =
      parse_properties(nodes, backend_kind(facts_.backend), device_type_, plan_.queues);
  if (!properties) {
    log().error("{}: {}; the disk keeps its size", device_, properties.error().text);
    co_return;
  }
  auto shape = properties->shape;
  shape.preferred_transfer = shape_.preferred_transfer;
  if (shape.sector_size != shape_.sector_size) {
    log().error("{}: the backend changed the sector size from {} to {}; reconnect to use it",
                device_, shape_.sector_size, shape.sector_size);
    co_return;
  }
  // What was refused at run time stays switched off, whatever the nodes still say.
  shape.can_flush = shape.can_flush && shape_.can_flush;
  shape.can_discard = shape.can_discard && shape_.can_discard;
  shape.can_secure_discard = shape.can_secure_discard && shape_.can_secure_discard;
  if (shape == shape_) co_return;
  log().info("{}: {} -> {}", device_, format_size(shape_.size), format_size(shape.size));
  shape_ = shape;
  if (known_) known_->shape = shape;
  for (const auto& each : queues_) {
    auto reshape = [each, shape] { each->reshape(shape); };
    co_await call_on(each->executor(), reshape);
  }
  if (changed_) changed_();
}

asio::awaitable<void> frontend::connection::end(device_state state, error why) {
  log().error("{}: {}", device_, why.text);
  co_await fail_queues(why);
  try {
    co_await shake_hands_goodbye();
  } catch (const failure& problem) {
    log().warn("{}: close: {}", device_, problem.what());
  }
  co_await close_queues();
  published_ = false;
  if (auto* const custodian = on_.custodian()) custodian->clear_cleanup(device_);
  become(state, std::move(why));
}

}  // namespace xenpv::blkfront
