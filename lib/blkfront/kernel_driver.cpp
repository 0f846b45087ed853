#include "blkfront/kernel_driver.hpp"

#include <fmt/format.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fstream>

#include "base/block_device_users.hpp"
#include "blkfront/transport.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::blkfront {

namespace {

constexpr std::chrono::milliseconds poll_interval(50);

std::string bus_name(const listed_device& device) {
  return fmt::format("vbd-{}", device.number);
}

std::string takeover_of(const listed_device& device) {
  return fmt::format("take {} from the kernel", device.name);
}

/// Opens the disk exclusively, which prevents new users while the descriptor is open.
unique_fd claim(const listed_device& device, const system_root& root) {
  const auto name = xen_block_device(bus_name(device), root);
  if (!name)
    throw failure(
        make_error_code(errc::not_available), takeover_of(device),
        fmt::format(
            "cannot read the kernel's name for the disk in {}, so the disk's users "
            "are unknown",
            root.path(fmt::format("/sys/bus/xen/devices/{}/block", bus_name(device))).string()));
  return claim_block_device(takeover_of(device), *name, root);
}

void write_driver_file(std::uint32_t number, const system_root& root, std::string_view file,
                       const std::string& operation) {
  const auto path = root.path(fmt::format("/sys/bus/xen/drivers/vbd/{}", file));
  std::ofstream out(path);
  out << fmt::format("vbd-{}", number);
  if (!out.flush())
    throw_errno(fmt::format("{}: write {}", operation, path.string()), "are you root?");
}

/// Polls `condition`, a coroutine, until it returns true. Returns false if `limit` expires first.
template <class Condition>
asio::awaitable<bool> wait_until(Condition condition, std::chrono::nanoseconds limit) {
  asio::steady_timer timer(co_await asio::this_coro::executor);
  const auto until = std::chrono::steady_clock::now() + limit;
  while (!co_await condition()) {
    if (std::chrono::steady_clock::now() >= until) co_return false;
    timer.expires_after(poll_interval);
    co_await timer.async_wait(asio::use_awaitable);
  }
  co_return true;
}

/// Throws `failure` if the toolstack has removed the disk: a write would recreate the directory.
asio::awaitable<void> reset_nodes(async::store_client& store, const listed_device& device,
                                  const std::string& operation) {
  auto reset = [&](xen::store_transaction& t) {
    if (!t.read_if_exists(device.path + "/backend"))
      throw failure(make_error_code(errc::not_available), operation,
                    "the toolstack has removed it");
    for (const auto& name : t.list_if_exists(device.path).value_or(std::vector<std::string>{}))
      if (is_transport_node(name)) (void)t.remove(device.path + "/" + name);
    t.write(device.path + "/state",
            fmt::format("{}", static_cast<unsigned>(wire::xenbus_state::initialising)));
  };
  co_await store.transact(reset);
}

}  // namespace

void check_release(const listed_device& device, const system_root& root) {
  (void)claim(device, root);
}

void take_from_kernel(const listed_device& device, const system_root& root) {
  const auto claimed = claim(device, root);
  unbind_from_kernel(device.number, takeover_of(device), root);
}

void bind_to_kernel(std::uint32_t number, const std::string& operation, const system_root& root) {
  write_driver_file(number, root, "bind", operation);
}

void unbind_from_kernel(std::uint32_t number, const std::string& operation,
                        const system_root& root) {
  write_driver_file(number, root, "unbind", operation);
}

asio::awaitable<std::string> give_to_kernel(async::store_client& store, listed_device device,
                                            system_root root, std::chrono::nanoseconds limit,
                                            driver_delegate delegate) {
  const auto operation = fmt::format("return {} to the kernel driver", device.name);
  co_await reset_nodes(store, device, operation);
  auto backend_waits = [&]() -> asio::awaitable<bool> {
    const auto state = co_await store.read_if_exists(device.backend + "/state");
    co_return state&& wire::parse_xenbus_state(*state) == wire::xenbus_state::init_wait;
  };
  const bool is_ready = co_await wait_until(backend_waits, limit);
  if (delegate.bind)
    delegate.bind();
  else
    bind_to_kernel(device.number, operation, root);
  std::optional<std::string> name;
  auto has_block_device = [&]() -> asio::awaitable<bool> {
    name = xen_block_device(bus_name(device), root);
    co_return name.has_value();
  };
  if (!co_await wait_until(has_block_device, limit)) {
    // A bound driver without a block device would block other frontends from using the disk.
    if (delegate.unbind)
      delegate.unbind();
    else
      unbind_from_kernel(device.number, operation, root);
    throw failure(
        make_error_code(errc::timed_out), operation,
        fmt::format("{}, and was unbound again; detach and attach the disk in the "
                    "toolstack, or reboot",
                    is_ready ? "its driver has not connected"
                             : "its driver cannot connect while the backend is not ready"));
  }
  co_return *name;
}

}  // namespace xenpv::blkfront
