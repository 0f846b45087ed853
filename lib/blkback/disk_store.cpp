// A disk's side of xenstore: reading what the toolstack and the frontend want, writing what is.
#include <fmt/format.h>

#include <cerrno>

#include "blkback/disk.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::blkback {
namespace {

namespace asio = async::asio;
using wire::xenbus_state;

xenbus_state state_in(std::optional<std::string_view> text) {
  if (!text) return xenbus_state::unknown;
  return wire::parse_xenbus_state(*text).value_or(xenbus_state::unknown);
}

}  // namespace

/// Adds the nodes directly below `path`, named relative to the directory that is read.
void disk::add_nodes(const xen::store_operations& store, const std::string& path,
                     const std::string& prefix, nodes& into) {
  const auto names = store.list_if_exists(path);
  if (!names) return;
  for (const auto& name : *names)
    if (auto value = store.read_if_exists(fmt::format("{}/{}", path, name)))
      into[prefix + name] = *value;
}

std::string disk::node(std::string_view name) const {
  return fmt::format("{}/{}", place_.directory, name);
}

/// nullopt: the directory is gone, or is none of a backend's.
asio::awaitable<std::optional<disk::facts>> disk::read_facts() {
  facts out;
  bool exists = false;
  // One transaction, so that a directory on its way out is not seen in parts.
  auto read = [&](xen::store_transaction& store) {
    out = {};
    add_nodes(store, place_.directory, "", out.directory);
    add_nodes(store, node("xenpv"), "xenpv/", out.directory);
    const auto frontend = find(out.directory, "frontend");
    const auto number =
        parse_unsigned(find(out.directory, "frontend-id").value_or(""), "frontend-id", 0, 0x7FEF);
    exists = frontend.has_value() && number.has_value();
    if (!exists) return;
    out.frontend = *frontend;
    out.frontend_domain = domid{static_cast<std::uint16_t>(*number)};
    out.state = state_in(find(out.directory, "state"));
    out.frontend_state = state_in(store.read_if_exists(out.frontend + "/state"));
  };
  co_await runtime_.store().transact(read);
  if (!exists) co_return std::nullopt;
  co_return out;
}

asio::awaitable<void> disk::publish(node_list what, xenbus_state state) {
  auto write = [&](xen::store_transaction& store) {
    for (const auto& each : what)
      store.write(node(each.name), each.value);
    store.write(node("state"), fmt::format("{}", raw(state)));
  };
  co_await runtime_.store().transact(write);
  own_ = state;
}

asio::awaitable<void> disk::write_one_by_one(node_list what) {
  for (auto& each : what)
    co_await runtime_.store().write(node(each.name), std::move(each.value));
}

/// Where xenbus_dev_error() of a kernel writes: below the backend's own home.
asio::awaitable<void> disk::complain(std::string what) {
  log().error("{}: {}", place_.directory, what);
  co_await runtime_.store().write(fmt::format("error/{}/error", place_.directory),
                                  fmt::format("{} {}", -EINVAL, what));
}

/// Settles what the disk is to be, and opens what keeps its bytes.
asio::awaitable<void> disk::open_medium() {
  const auto now = co_await read_facts();
  if (!now) co_return;
  const auto queues = static_cast<std::uint32_t>(runtime_.cpus());
  auto plan = parse_disk_plan(now->directory, place_.kind, queues);
  std::string problem;
  if (plan) {
    plan_ = std::move(*plan);
    fault_words_ = find(now->directory, "xenpv/fault").value_or("");
    // What it said at first: a disk found again by its name may have been resized since it was
    // made.
    size_word_ = find(now->directory, "xenpv/size").value_or("");
    try {
      medium_ = media_(*plan_);
      plan_->config.size = medium_->size();
    } catch (const failure& why) {
      problem = why.what();
    }
  } else {
    problem = plan.error().text;
    settled_ = true;
    change_.cancel();
  }
  if (problem.empty()) {
    auto write = [&](xen::store_transaction& store) {
      store.write(node("physical-device"), medium_->physical_device());
      store.write(node("hotplug-status"), "connected");
    };
    co_await runtime_.store().transact(write);
    co_return;
  }
  // As a hotplug script does that fails: the device stays, and waits for its medium for ever.
  auto write = [&](xen::store_transaction& store) {
    store.write(node("hotplug-error"), problem);
    store.write(node("hotplug-status"), "error");
  };
  co_await runtime_.store().transact(write);
  co_await complain(problem);
}

}  // namespace xenpv::blkback
