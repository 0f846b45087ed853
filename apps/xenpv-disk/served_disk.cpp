#include "served_disk.hpp"

#include <fmt/format.h>

#include <boost/asio/signal_set.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <csignal>

#include "async/nursery.hpp"
#include "claim.hpp"
#include "cli/value.hpp"
#include "control_socket.hpp"
#include "memory_lock.hpp"
#include "xenpv/async/shield.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::disk_app {
namespace {

nbd::server_options server_options_for(const disk_options& options, const tls_settings& tls,
                                       const claimed_disk& claimed,
                                       const blkfront::frontend& device) {
  nbd::server_options out;
  out.export_name = claimed.export_name;
  out.description = fmt::format("PV disk {} ({}) of domain {}", claimed.disk.name,
                                claimed.disk.backend, device.facts().backend_domain);
  out.read_only = options.read_only;
  out.max_connections = options.max_connections;
  out.tls = tls.mode;
  out.credentials = tls.credentials;
  return out;
}

void warn_about(const blkfront::frontend& device, const std::string& name) {
  if (!device.shape().can_flush && !device.shape().read_only)
    log().warn(
        "{}: the backend does not support flush, so writes are never known to be durable; clients "
        "are offered neither FLUSH nor FUA",
        name);
}

/// The first signal does not interrupt a connection attempt, because the interruption would leave
/// the disk without a driver. The second signal does.
asio::awaitable<void> handle_signals(const claimed_disk& claimed, int& first) {
  asio::signal_set signals(claimed.runtime.control(), SIGTERM, SIGINT);
  first = co_await signals.async_wait(asio::use_awaitable);
  log().info(
      "{}: signal {}: stopping once the backend has answered; a second signal exits immediately",
      claimed.disk.name, first);
  const auto second = co_await signals.async_wait(asio::use_awaitable);
  signals.clear();
  ::raise(second);
}

/// Closes a disk that was never served, and returns it to the kernel driver if it was taken over.
asio::awaitable<void> disconnect(const claimed_disk& claimed, const connected_disk& connected) {
  if (!connected.device) co_return;
  co_await connected.device->close();
  if (connected.taken) co_await give_back(claimed.runtime, claimed.disk);
}

/// Connects the disk. Meanwhile, the status socket disconnects all clients, and `signal` is set to
/// any signal that arrives.
asio::awaitable<connected_disk> connect(const claimed_disk& claimed, const disk_options& options,
                                        status_socket& status, int& signal) {
  auto identity = claimed.kept ? claimed.kept->identity : std::string();
  async::nursery tasks(claimed.runtime.control());
  tasks.spawn(status.refuse());
  tasks.spawn(handle_signals(claimed, signal));
  connected_disk out;
  auto body = [&]() -> asio::awaitable<void> {
    out = co_await connect_disk(claimed.runtime, claimed.disk, options.device, std::move(identity));
  };
  auto end_tasks = [&] {
    tasks.cancel();
    return tasks.join();
  };
  auto undo = [&] { return disconnect(claimed, out); };
  auto connecting = async::finally(body(), end_tasks);
  co_await async::clean_up_on_failure(std::move(connecting), undo);
  co_return out;
}

asio::awaitable<void> serve_clients(const disk_service& service, const disk_options& options,
                                    const tls_settings& tls, const claimed_disk& claimed,
                                    blkfront::frontend& device, status_socket& status,
                                    bool& was_ready) {
  auto exported = server_options_for(options, tls, claimed, device);
  nbd::server server(claimed.runtime.control(), device, std::move(exported));
  served_disk served{claimed.runtime, claimed.disk, claimed.disk.name, claimed.export_name, device,
                     server,          status,       claimed.kept};
  auto stop = [&] {
    was_ready = served.is_ready;
    status.close();
    device.on_change({});
    return server.stop();
  };
  co_await async::finally(service(served), stop);
}

asio::awaitable<void> close(blkfront::frontend& device, const std::string& name) {
  if (device.shape().can_flush && device.state() == blkfront::device_state::connected) {
    try {
      co_await device.flush();
    } catch (const failure& problem) {
      log().error("{}: {}", name, problem.what());
    }
  }
  co_await device.close();
}

asio::awaitable<void> serve(async::runtime& runtime, disk_options options, tls_settings tls,
                            std::function<disk_service(const claimed_disk&)> prepare) {
  const auto held = co_await lock_disk(runtime, options.disk, options.keep);
  const auto& disk = held.disk;
  check_claim(disk, options.device);
  auto name = options.name.empty() ? disk.name : options.name;
  const claimed_disk claimed{runtime, disk, std::move(name), held.kept};
  nbd::check_export_name(claimed.export_name).value();
  status_socket status(runtime.control(), disk.name);
  const auto service = prepare(claimed);
  if (!service) co_return;
  int signal = 0;
  const auto connected = co_await connect(claimed, options, status, signal);
  if (signal != 0) co_return co_await disconnect(claimed, connected);
  auto& device = *connected.device;
  bool was_ready = false;
  auto close_disk = [&] { return close(device, disk.name); };
  auto return_disk = [&]() -> asio::awaitable<void> {
    if (connected.taken && !was_ready) co_await give_back(runtime, disk);
  };
  warn_about(device, disk.name);
  auto serving = async::finally(
      serve_clients(service, options, tls, claimed, device, status, was_ready), close_disk);
  co_await async::clean_up_on_failure(std::move(serving), return_disk);
}

}  // namespace

void add_disk_options(cli::command& command, disk_options& options) {
  add_device_options(command, options.disk, options.device);
  command.flag("--read-only", options.read_only, "export the disk read-only")
      .flag("--swap", options.swap,
            "lock the server in memory, so that its clients can swap to the disk");
}

void add_client_options(cli::command& command, disk_options& options) {
  command
      .option("--name EXPORT", options.name, "name of the export (default: the disk's name)",
              cli::as_text)
      .option("--max-connections N", options.max_connections, "maximum number of clients at a time",
              cli::whole_number<unsigned>(1, 1024), {.by_default = "16"});
}

void with_served_disk(const disk_options& options, const tls_settings& tls,
                      std::function<disk_service(const claimed_disk&)> prepare) {
  // Called before any threads exist so that all threads inherit the settings.
  if (options.swap) prepare_for_swap();
  async::runtime_options settings;
  settings.thread_name = "xenpv-disk";
  async::runtime runtime(std::move(settings));
  runtime.run([&](async::runtime& self) { return serve(self, options, tls, std::move(prepare)); });
}

}  // namespace xenpv::disk_app
