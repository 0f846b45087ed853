#include "served_disk.hpp"

#include <fmt/format.h>

#include "claim.hpp"
#include "memory_lock.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/base/parse.hpp"
#include "xenpv/cli/value.hpp"

namespace xenpv::disk_app {
namespace {

namespace asio = async::asio;
using blkfront::listed_device;

nbd::server_options server_options_for(const disk_words& words, const tls_settings& tls,
                                       const listed_device& disk,
                                       const blkfront::frontend& device) {
  nbd::server_options out;
  out.export_name = words.name.empty() ? disk.name : words.name;
  out.description = fmt::format("PV disk {} ({}) of domain {}", disk.name, disk.backend,
                                device.facts().backend_domain);
  out.read_only = words.read_only;
  out.max_connections = words.max_connections;
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

result<std::chrono::nanoseconds> parse_recovery_timeout(std::string_view text) {
  return parse_duration(text, "recovery timeout");
}

asio::awaitable<void> serve(async::runtime& on, disk_words words, tls_settings tls,
                            std::function<asio::awaitable<void>(served_disk&)> body) {
  const auto held = co_await lock_disk(on, words.disk, words.keep);
  const auto& disk = held.disk;
  take_if_held(disk, words.take);
  blkfront::options how;
  how.queues = words.queues;
  how.recovery_timeout = words.recovery_timeout;
  auto identity = held.kept ? held.kept->identity : std::string();
  const auto device =
      co_await blkfront::frontend::open_again(on, disk.path, how, std::move(identity));
  warn_about(*device, disk.name);
  auto exported = server_options_for(words, tls, disk, *device);
  const auto export_name = exported.export_name;
  nbd::server server(on.control(), *device, std::move(exported));
  served_disk served{on, disk.name, export_name, *device, server, held.kept};
  std::exception_ptr error;
  try {
    co_await body(served);
  } catch (...) {
    error = std::current_exception();
  }
  device->on_change({});
  co_await server.stop();
  if (device->shape().can_flush && device->state() == blkfront::device_state::connected) {
    try {
      co_await device->flush();
    } catch (const failure& problem) {
      log().error("{}: {}", disk.name, problem.what());
    }
  }
  co_await device->close();
  if (error) std::rethrow_exception(error);
}

}  // namespace

void add_disk_options(cli::command& command, disk_words& words) {
  command
      .argument("DISK", words.disk,
                "xvdb, /dev/xvdb, 51728, device/vbd/51728, or what the backend made it from",
                cli::as_text)
      .flag("--take", words.take, "ask the kernel's driver to let go of it first")
      .flag("--read-only", words.read_only, "let clients read only")
      .option("--queues N", words.queues, "use at most N queues, each on a CPU of its own",
              cli::whole_number<unsigned>(1, 64))
      .option("--recovery-timeout DURATION", words.recovery_timeout,
              "how long requests wait for a backend that was lost (restart, save and restore, "
              "migration) before they fail; it may still come back then. 0: for ever",
              parse_recovery_timeout, {.by_default = "5min"})
      .flag("--swap", words.swap,
            "keep the server in memory, so that its clients may swap to the disk");
}

void add_client_options(cli::command& command, disk_words& words) {
  command
      .option("--name EXPORT", words.name, "what clients call it (default: the disk's name)",
              cli::as_text)
      .option("--max-connections N", words.max_connections, "clients at a time",
              cli::whole_number<unsigned>(1, 1024), {.by_default = "16"});
}

void with_served_disk(const disk_words& words, const tls_settings& tls,
                      std::function<asio::awaitable<void>(served_disk&)> body) {
  // Before there are threads, which inherit it.
  if (words.swap) prepare_for_swap();
  async::runtime_options how;
  how.thread_name = "xenpv-disk";
  async::runtime on(std::move(how));
  on.run([&](async::runtime& self) { return serve(self, words, tls, std::move(body)); });
}

}  // namespace xenpv::disk_app
