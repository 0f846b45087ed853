// What happens to a connected device: resize, unplug, a backend that goes away.
#include <fmt/format.h>

#include "blkfront/connection.hpp"
#include "xenpv/async/call_on.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/base/parse.hpp"
#include "xenpv/xen/custodian.hpp"

namespace xenpv::blkfront {

namespace asio = boost::asio;
using async::call_on;

asio::awaitable<void> frontend::connection::monitor() {
  for (;;) {
    async::watch_event event;
    try {
      event = co_await watch_->next();
    } catch (const failure& problem) {
      // The ring works without xenstore; only resize and unplug go unnoticed.
      log().error("{}: {}", device_, problem.what());
      co_return;
    }
    const bool worth_reading = event.overflowed || event.path.ends_with("/sectors") ||
                               event.path.ends_with("/state") || event.path == facts_.backend;
    if (!co_await follow(worth_reading)) co_return;
  }
}

/// Does what the states call for. False: the device has come to its end.
asio::awaitable<bool> frontend::connection::follow(bool worth_reading) {
  const auto view = co_await look();
  switch (machine_.next(view)) {
    case handshake_step::look_again:
      if (worth_reading) co_await look_again();
      co_return true;
    case handshake_step::close: {
      const auto why = view.online
                           ? make_error(errc::lost_connection, fmt::format("use {}", device_),
                                        "the backend closed the connection")
                           : make_error(errc::lost_connection, fmt::format("use {}", device_),
                                        "the toolstack took the disk away");
      (void)co_await drain_queues();
      co_await end(view.online ? device_state::failed : device_state::unplugged, why);
      co_return false;
    }
    case handshake_step::lost:
      co_await end(device_state::failed,
                   make_error(errc::lost_connection, fmt::format("use {}", device_),
                              view.backend ? "the backend gave the connection up or restarted"
                                           : "the backend's directory vanished"));
      co_return false;
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
