#include "served_disk.hpp"

#include <fmt/format.h>

#include <boost/asio/signal_set.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <csignal>

#include "claim.hpp"
#include "control_socket.hpp"
#include "memory_lock.hpp"
#include "xenpv/async/nursery.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/cli/value.hpp"

namespace xenpv::disk_app {
namespace {

namespace asio = async::asio;

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
        "{}: the backend offers no flush: nothing says when a write is durable, so clients are "
        "offered neither FLUSH nor FUA",
        name);
}

/// A signal does not cut a connect short, which would leave the disk to nobody; a second one does.
asio::awaitable<void> heed_signals(const claimed_disk& claimed, int& first) {
  asio::signal_set signals(claimed.on.control(), SIGTERM, SIGINT);
  first = co_await signals.async_wait(asio::use_awaitable);
  log().info("{}: signal {}: stopping once the backend has answered; a second signal ends this now",
             claimed.disk.name, first);
  const auto second = co_await signals.async_wait(asio::use_awaitable);
  signals.clear();
  ::raise(second);
}

/// The disk's status socket hangs up on everybody until there is a status. `signal`: one that came
/// meanwhile.
asio::awaitable<connected_disk> connect(const claimed_disk& claimed, const disk_options& options,
                                        status_socket& status, int& signal) {
  auto identity = claimed.kept ? claimed.kept->identity : std::string();
  async::nursery beside(claimed.on.control());
  beside.spawn(status.refuse());
  beside.spawn(heed_signals(claimed, signal));
  std::exception_ptr error;
  connected_disk out;
  try {
    out = co_await connect_disk(claimed.on, claimed.disk, options.device, std::move(identity));
  } catch (...) {
    error = std::current_exception();
  }
  beside.cancel();
  try {
    co_await beside.join();
  } catch (...) {
    if (!error) error = std::current_exception();
  }
  if (error && out.device) co_await out.device->close();
  if (error && out.device && out.taken) co_await give_back(claimed.on, claimed.disk);
  if (error) std::rethrow_exception(error);
  co_return out;
}

asio::awaitable<void> serve_clients(const disk_service& service, const disk_options& options,
                                    const tls_settings& tls, const claimed_disk& claimed,
                                    blkfront::frontend& device, status_socket& status,
                                    bool& was_ready) {
  auto exported = server_options_for(options, tls, claimed, device);
  nbd::server server(claimed.on.control(), device, std::move(exported));
  served_disk served{claimed.on, claimed.disk, claimed.disk.name, claimed.export_name, device,
                     server,     status,       claimed.kept};
  std::exception_ptr error;
  try {
    co_await service(served);
  } catch (...) {
    error = std::current_exception();
  }
  was_ready = served.is_ready;
  status.close();
  device.on_change({});
  co_await server.stop();
  if (error) std::rethrow_exception(error);
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

asio::awaitable<void> serve(async::runtime& on, disk_options options, tls_settings tls,
                            std::function<disk_service(const claimed_disk&)> prepare) {
  const auto held = co_await lock_disk(on, options.disk, options.keep);
  const auto& disk = held.disk;
  check_claim(disk, options.device);
  auto name = options.name.empty() ? disk.name : options.name;
  const claimed_disk claimed{on, disk, std::move(name), held.kept};
  nbd::check_export_name(claimed.export_name).value();
  status_socket status(on.control(), disk.name);
  const auto service = prepare(claimed);
  if (!service) co_return;
  int signal = 0;
  const auto connected = co_await connect(claimed, options, status, signal);
  if (signal != 0) {
    co_await connected.device->close();
    if (connected.taken) co_await give_back(on, disk);
    co_return;
  }
  std::exception_ptr error;
  bool was_ready = false;
  try {
    warn_about(*connected.device, disk.name);
    co_await serve_clients(service, options, tls, claimed, *connected.device, status, was_ready);
  } catch (...) {
    error = std::current_exception();
  }
  co_await close(*connected.device, disk.name);
  if (error && connected.taken && !was_ready) co_await give_back(on, disk);
  if (error) std::rethrow_exception(error);
}

}  // namespace

void add_disk_options(cli::command& command, disk_options& options) {
  add_device_options(command, options.disk, options.device);
  command.flag("--read-only", options.read_only, "let clients read only")
      .flag("--swap", options.swap,
            "keep the server in memory, so that its clients may swap to the disk");
}

void add_client_options(cli::command& command, disk_options& options) {
  command
      .option("--name EXPORT", options.name, "what clients call it (default: the disk's name)",
              cli::as_text)
      .option("--max-connections N", options.max_connections, "clients at a time",
              cli::whole_number<unsigned>(1, 1024), {.by_default = "16"});
}

void with_served_disk(const disk_options& options, const tls_settings& tls,
                      std::function<disk_service(const claimed_disk&)> prepare) {
  // Before there are threads, which inherit it.
  if (options.swap) prepare_for_swap();
  async::runtime_options how;
  how.thread_name = "xenpv-disk";
  async::runtime on(std::move(how));
  on.run([&](async::runtime& self) { return serve(self, options, tls, std::move(prepare)); });
}

}  // namespace xenpv::disk_app
