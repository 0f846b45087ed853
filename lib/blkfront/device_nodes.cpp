#include "blkfront/device_nodes.hpp"

#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include "base/parse.hpp"
#include "blkfront/transport.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::blkfront {

device_nodes::device_nodes(async::guest_session& session, std::string device)
    : session_(session),
      device_(std::move(device)),
      watchers_(session.control()),
      change_(session.control()) {}

asio::awaitable<void> device_nodes::read_device() {
  auto& store = session_.store();
  const auto backend = co_await store.read_if_exists(device_ + "/backend");
  if (!backend)
    throw failure(make_error_code(errc::not_available), fmt::format("open {}", device_),
                  "no such device; `xenstore-ls device/vbd` lists the attached devices");
  device_facts facts;
  facts.backend = *backend;
  const auto path = device_ + "/backend-id";
  const auto domain = co_await store.read(path);
  facts.backend_domain =
      domid{static_cast<std::uint16_t>(parse_unsigned(domain, path, 0, 0x7FEF).value())};
  const auto type = co_await store.read_if_exists(device_ + "/device-type");
  facts.type = type.value_or("disk");
  const auto trusted = co_await store.read_if_exists(device_ + "/trusted");
  facts.trusted = trusted.value_or("1") != "0";
  // A request's handle is the device number in the path, truncated to 16 bits.
  const auto name = device_.substr(device_.rfind('/') + 1);
  const auto number = parse_unsigned(name, "virtual device", 0, 0xFFFFFFFF);
  facts.handle = static_cast<std::uint16_t>(number ? *number : 0);
  facts_ = std::move(facts);
  co_await watch_directories();
}

/// Reads of a removed directory fail with EACCES because the guest cannot access the parent
/// directory.
asio::awaitable<std::optional<std::string>> device_nodes::read_backend_node(std::string name) {
  try {
    co_return co_await session_.store().read_if_exists(facts_.backend + "/" + name);
  } catch (const failure& problem) {
    if (problem.code() != std::errc::permission_denied) throw;
  }
  co_return std::nullopt;
}

asio::awaitable<device_view> device_nodes::read_view() {
  auto& store = session_.store();
  device_view view;
  // Reset the flag before the reads, so that the next view reports changes during them.
  view.rebuilt = std::exchange(rebuilt_, false);
  const auto parse = [](const std::string& text) {
    return wire::parse_xenbus_state(text).value_or(wire::xenbus_state::unknown);
  };
  const auto node = co_await store.read_if_exists(device_ + "/backend");
  const auto own = co_await store.read_if_exists(device_ + "/state");
  const auto backend = co_await read_backend_node("state");
  const auto online = co_await read_backend_node("online");
  if (!node)
    view.node = backend_node::removed;
  else if (*node != facts_.backend)
    view.node = backend_node::other;
  if (own) view.states.own = parse(*own);
  if (backend) view.states.backend = parse(*backend);
  view.states.online = online.value_or("1") != "0";
  co_return view;
}

asio::awaitable<node_map> device_nodes::read_backend() {
  node_map nodes;
  auto read = [&](xen::store_transaction& t) {
    nodes.clear();
    for (const auto name : backend_nodes())
      if (auto value = t.read_if_exists(fmt::format("{}/{}", facts_.backend, name)))
        nodes.emplace(name, std::move(*value));
  };
  co_await session_.store().transact(read);
  co_return nodes;
}

asio::awaitable<std::optional<std::string>> device_nodes::hotplug_problem() {
  const auto status = co_await read_backend_node("hotplug-status");
  if (status != "error") co_return std::nullopt;
  const auto text = co_await read_backend_node("hotplug-error");
  co_return text.value_or("");
}

asio::awaitable<void> device_nodes::give_up(std::chrono::nanoseconds waited) {
  const auto view = co_await read_view();
  const auto hotplug = co_await read_backend_node("hotplug-status");
  throw failure(errc::timed_out,
                fmt::format("connect {}: {}", device_, explain_wait(view.states, hotplug)),
                fmt::format("waited {}", format_duration(waited)));
}

asio::awaitable<bool> device_nodes::set_state(wire::xenbus_state state) {
  const auto path = device_ + "/state";
  co_return co_await session_.store().write_if_exists(path, fmt::format("{}", raw(state)));
}

asio::awaitable<void> device_nodes::publish(
    const std::vector<std::pair<std::string, std::string>>& nodes) {
  bool removed = false;
  auto write = [&](xen::store_transaction& t) {
    // If the toolstack has removed the device, a write would recreate its directory.
    removed = !t.read_if_exists(device_ + "/backend");
    if (removed) return;
    // The backend would mistake a previous frontend's nodes for the new ones, so remove the old
    // nodes in this transaction.
    for (const auto& name : t.list(device_))
      if (is_transport_node(name)) (void)t.remove(device_ + "/" + name);
    for (const auto& [name, value] : nodes)
      t.write(device_ + "/" + name, value);
    t.write(device_ + "/state", fmt::format("{}", raw(wire::xenbus_state::initialised)));
  };
  co_await session_.store().transact(write);
  if (removed)
    throw failure(errc::lost_connection, fmt::format("connect {}", device_),
                  "the toolstack removed the device");
}

void device_nodes::wake() {
  changed_ = true;
  change_.notify();
}

void device_nodes::note_event(const async::watch_event& event) {
  properties_changed_ = properties_changed_ || event.overflowed ||
                        event.path.ends_with("/sectors") || event.path.ends_with("/state") ||
                        event.path == watched_;
  rebuilt_ = rebuilt_ || event.path == watched_;
}

asio::awaitable<void> device_nodes::consume_watch(async::watch_stream watch) {
  for (;;) {
    std::string problem;
    try {
      note_event(co_await watch.next());
    } catch (const std::exception& e) {
      problem = e.what();
    }
    if (!problem.empty()) {
      const auto state = co_await asio::this_coro::cancellation_state;
      if (state.cancelled() != asio::cancellation_type::none) co_return;
      // xenstored is lost, or another owner has closed the store client.
      log().error("{}: {}", device_, problem);
      lost_ = true;
    }
    wake();
    if (lost_) co_return;
  }
}

asio::awaitable<void> device_nodes::watch_directories() {
  if (watched_ == facts_.backend) co_return;
  watched_.clear();
  watchers_.cancel();
  co_await watchers_.join();
  auto backend = co_await session_.store().watch(facts_.backend);
  auto own = co_await session_.store().watch(device_ + "/backend");
  // A new watch fires once even if nothing has changed.
  (void)co_await backend.next();
  watched_ = facts_.backend;
  rebuilt_ = false;
  watchers_.spawn(consume_watch(std::move(backend)));
  watchers_.spawn(consume_watch(std::move(own)));
}

asio::awaitable<bool> device_nodes::wait_for_change(std::chrono::nanoseconds limit) {
  const auto now = clock::now();
  // now + limit must not overflow.
  const auto until =
      limit < clock::time_point::max() - now ? now + limit : clock::time_point::max();
  while (!changed_ && clock::now() < until) {
    co_await change_.wait_until(until);
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none)
      throw boost::system::system_error(asio::error::operation_aborted);
  }
  if (lost_)
    throw failure(errc::lost_connection, fmt::format("watch {}", device_),
                  "the connection to xenstored is closed");
  co_return std::exchange(changed_, false);
}

asio::awaitable<void> device_nodes::close() {
  watchers_.cancel();
  try {
    co_await watchers_.join();
  } catch (const std::exception& problem) {
    log().warn("{}: watch: {}", device_, problem.what());
  }
  watched_.clear();
}

}  // namespace xenpv::blkfront
