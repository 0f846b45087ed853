// The part of class disk that accesses xenstore: reads the toolstack's and the frontend's nodes,
// and publishes the backend's nodes.
#include <fmt/format.h>

#include <cerrno>

#include "blkback/disk.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::blkback {
namespace {

using wire::xenbus_state;

xenbus_state parse_state(std::optional<std::string_view> text) {
  if (!text) return xenbus_state::unknown;
  return wire::parse_xenbus_state(*text).value_or(xenbus_state::unknown);
}

}  // namespace

/// Adds the nodes directly below `path` to `destination`, and prepends `prefix` to their names.
void disk::add_nodes(const xen::store_operations& store, const std::string& path,
                     const std::string& prefix, nodes& destination) {
  const auto names = store.list_if_exists(path);
  if (!names) return;
  for (const auto& name : *names)
    if (auto value = store.read_if_exists(fmt::format("{}/{}", path, name)))
      destination[prefix + name] = *value;
}

std::string disk::node(std::string_view name) const {
  return fmt::format("{}/{}", place_.directory, name);
}

/// Returns nullopt if the directory does not exist or is not a backend directory.
asio::awaitable<std::optional<disk::facts>> disk::read_facts() {
  facts out;
  bool exists = false;
  // Use one transaction, so that a directory that is being removed is never partially read.
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
    out.state = parse_state(find(out.directory, "state"));
    out.frontend_state = parse_state(store.read_if_exists(out.frontend + "/state"));
  };
  co_await runtime_.store().transact(read);
  if (!exists) co_return std::nullopt;
  co_return out;
}

asio::awaitable<void> disk::write_together(node_list entries) {
  auto write = [&](xen::store_transaction& store) {
    for (const auto& entry : entries)
      store.write(node(entry.name), entry.value);
  };
  co_await runtime_.store().transact(write);
}

asio::awaitable<void> disk::publish(node_list entries, xenbus_state state) {
  entries.push_back({"state", fmt::format("{}", raw(state))});
  co_await write_together(std::move(entries));
  own_ = state;
}

asio::awaitable<void> disk::write_one_by_one(node_list entries) {
  for (auto& entry : entries)
    co_await runtime_.store().write(node(entry.name), std::move(entry.value));
}

/// Writes the error node to the same place as xenbus_dev_error() in the kernel: below the backend
/// domain's home directory.
asio::awaitable<void> disk::report_error(std::string message) {
  log().error("{}: {}", place_.directory, message);
  co_await runtime_.store().write(fmt::format("error/{}/error", place_.directory),
                                  fmt::format("{} {}", -EINVAL, message));
}

/// Reads the disk's plan from xenstore and opens its medium.
asio::awaitable<void> disk::open_medium() {
  const auto now = co_await read_facts();
  if (!now) co_return;
  const auto queues = static_cast<std::uint32_t>(runtime_.cpus());
  auto plan = parse_disk_plan(now->directory, place_.kind, queues);
  std::string problem;
  if (plan) {
    plan_ = std::move(*plan);
    fault_text_ = find(now->directory, "xenpv/fault").value_or("");
    // Do not apply the initial size: a medium that is reused by name may have been resized since
    // its creation.
    size_text_ = find(now->directory, "xenpv/size").value_or("");
    try {
      medium_ = media_(*plan_);
      plan_->config.size = medium_->size();
    } catch (const failure& e) {
      problem = e.what();
    }
  } else {
    problem = plan.error().text;
    announce_done_ = true;
    change_.notify();
  }
  node_list entries;
  if (problem.empty())
    entries = {{"physical-device", medium_->physical_device()}, {"hotplug-status", "connected"}};
  else
    // Behave like a failed hotplug script: the device waits for its medium indefinitely.
    entries = {{"hotplug-error", problem}, {"hotplug-status", "error"}};
  co_await write_together(std::move(entries));
  if (!problem.empty()) co_await report_error(problem);
}

}  // namespace xenpv::blkback
