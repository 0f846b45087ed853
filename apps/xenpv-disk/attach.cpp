#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/utsname.h>

#include <cstdio>
#include <ostream>
#include <utility>

#include "background.hpp"
#include "base/block_device_users.hpp"
#include "cli/service_manager.hpp"
#include "cli/value.hpp"
#include "commands.hpp"
#include "memory_lock.hpp"
#include "nbd/kernel_device.hpp"
#include "service.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/nbd/kernel_attachment.hpp"

namespace xenpv::disk_app {
namespace {

/// How long requests wait without a server. Longer for a kept device, because an administrator may
/// have to start the next server.
constexpr std::chrono::seconds usual_dead_timeout(30);
constexpr std::chrono::minutes kept_dead_timeout(10);

struct attach_options {
  server_settings server;
  std::optional<std::uint32_t> device;
  std::optional<std::size_t> connections;
  std::chrono::seconds timeout{0};
  std::optional<std::chrono::seconds> dead_timeout;
  bool background = false;
  confinement_options confined;
};

result<std::uint32_t> parse_device(std::string_view text) {
  if (const auto index = nbd::kernel_device_index(text)) return *index;
  return make_error(errc::invalid_argument, fmt::format("device '{}'", text),
                    "expected a device of the kernel NBD driver, such as /dev/nbd0");
}

/// The kernel driver supports only timeouts in whole seconds.
result<std::chrono::seconds> parse_seconds(std::string_view text, std::string_view name) {
  const auto value = parse_duration(text, name);
  if (!value) return value.error();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(*value);
  if (seconds == *value) return seconds;
  return make_error(errc::invalid_argument, fmt::format("{} '{}'", name, text),
                    "expected whole seconds");
}

/// Called before the disk is taken over: if the device is not available, the disk stays with its
/// current driver.
void check_device(const std::optional<std::uint32_t>& index) {
  if (!index || !disk_of_kept_device(*index).empty()) return;
  if (const auto owner = nbd::kernel_device_owner(*index))
    throw failure(
        std::make_error_code(std::errc::device_or_resource_busy),
        fmt::format("attach to {}", nbd::kernel_device_path(*index)),
        fmt::format("already connected by process {}; omit the device to let the kernel choose one",
                    *owner));
}

nbd::attachment_options attachment_options_for(const attach_options& options, served_disk& disk) {
  nbd::attachment_options out;
  out.index = options.device;
  out.queues = disk.device.queue_count();
  out.keep = options.server.keep;
  // With several connections, the kernel drops connections whose requests are merely slow.
  out.connections = options.connections.value_or(out.keep ? 1 : out.queues);
  out.timeout = options.timeout;
  out.dead_timeout = options.dead_timeout.value_or(
      out.keep ? std::chrono::seconds(kept_dead_timeout) : usual_dead_timeout);
  out.identifier = device_identifier(disk.name);
  if (const auto& kept = disk.claimed.held.kept) {
    out.adopted = kept->index;
    out.connections = kept->connections;
    out.adopted_timeout = kept->timeout;
  }
  return out;
}

/// True if the kernel can remove the request timeout of a connected device (Linux 5.9).
bool can_remove_timeout() {
  utsname kernel{};
  int major = 0;
  int minor = 0;
  if (::uname(&kernel) != 0 || std::sscanf(kernel.release, "%d.%d", &major, &minor) != 2)
    return false;
  return std::pair(major, minor) >= std::pair(5, 9);
}

/// Throws if the options contradict the device that a previous server left behind for the disk and
/// that the kernel cannot change.
void check_choice(const attach_options& options, const claimed_disk& claimed) {
  if (!claimed.held.kept) return;
  const auto& kept = *claimed.held.kept;
  const auto path = nbd::kernel_device_path(kept.index);
  const auto refuse = [&](std::string_view reason) {
    throw failure(make_error_code(errc::invalid_argument),
                  fmt::format("attach {} as {}", claimed.name(), path),
                  fmt::format("a previous server left the device behind, {}", reason));
  };
  if (options.device && *options.device != kept.index)
    refuse(fmt::format("and it may be in use; {} cannot replace it",
                       nbd::kernel_device_path(*options.device)));
  if (options.connections && *options.connections != kept.connections)
    refuse(fmt::format("with {} connections; omit --connections, or detach the device first",
                       kept.connections));
  const bool is_read_only = nbd::kernel_device_is_read_only(kept.index).value_or(false);
  if (options.server.read_only && !is_read_only)
    refuse("and it is writable; omit --read-only, or detach the device first");
  if (options.timeout.count() == 0 && kept.timeout.count() > 0 && !can_remove_timeout())
    refuse(
        fmt::format("with --timeout {}s, which can be removed only by Linux 5.9 or later; "
                    "repeat the option, or detach the device first",
                    kept.timeout.count()));
  if (!options.server.read_only && is_read_only)
    log().warn(
        "{}: it stays read-only, as a previous server attached it; to change this, detach it",
        path);
}

/// One attachment, from the creation of the device to its removal.
class attached_disk {
 public:
  attached_disk(const attach_options& options, disk_server& server, nbd::kernel_driver driver,
                background_start& start, std::ostream& out)
      : options_(options),
        server_(server),
        disk_(server.disks.front()),
        device_(server.runtime.control(), server.server, std::move(driver), disk_.device.shape(),
                attachment_options_for(options, disk_)),
        start_(start),
        out_(out) {}

  asio::awaitable<void> serve() {
    service_work work;
    work.task = [this] { return run(); };
    work.task_says_ready = true;
    work.reshaped = [this] { device_.reshape(disk_.device.shape()); };
    work.before_stop = [this] { return leave(); };
    endpoints nowhere;
    co_await serve_until_stopped(server_, std::move(nowhere), std::move(work));
  }

 private:
  asio::awaitable<void> run() {
    co_await device_.connect();
    disk_.kernel_device = device_.path();
    if (options_.server.keep) co_await remember();
    report_ready();
    co_await device_.run();
    if (left_behind_) co_return;
    if (server_.confined != nullptr)
      forget_through(*server_.confined);
    else
      forget_device(disk_.name);
    log().info("{}: {} was disconnected", disk_.name, device_.path());
  }

  /// Records the device for the next server, which may start after this server has crashed.
  asio::awaitable<void> remember() {
    kept_device kept;
    kept.index = device_.index();
    kept.connected_by = nbd::kernel_device_owner(kept.index).value_or(0);
    kept.connections = attachment_options_for(options_, disk_).connections;
    kept.timeout = options_.timeout;
    kept.identity = co_await disk_.device.identity();
    if (server_.confined != nullptr)
      server_.confined->remember_device(
          kept.connections, static_cast<std::uint64_t>(kept.timeout.count()), kept.identity);
    else
      remember_device(disk_.name, kept);
  }

  /// A leftover record is harmless: it names a device that is no longer connected.
  static void forget_through(confinement& confined) {
    try {
      confined.forget_device();
    } catch (const failure& problem) {
      log().warn("{}", problem.what());
    }
  }

  void report_ready() {
    server_.is_ready = true;
    log().info("{}: {} as {}", disk_.name, disk_.claimed.held.kept ? "attached again" : "attached",
               device_.path());
    cli::notify_service_manager(
        fmt::format("READY=1\nSTATUS=serving {} as {}", disk_.name, device_.path()));
    if (start_.ready)
      announce(start_, device_.path());
    else
      (out_ << device_.path() << '\n').flush();
  }

  /// Also true while the backend is lost: the next server also waits for the backend.
  [[nodiscard]] bool stays_for_next_server() const {
    const auto state = disk_.device.state();
    return options_.server.keep && device_.is_connected() &&
           (state == blkfront::device_state::connected ||
            state == blkfront::device_state::recovering);
  }

  asio::awaitable<void> leave() {
    if (stays_for_next_server()) {
      log().info("{}: leaving {} in place for the next server; its requests wait until then",
                 disk_.name, device_.path());
      left_behind_ = true;
      device_.leave_behind();
      co_return;
    }
    if (device_.is_connected()) {
      const auto users = block_device_users(nbd::kernel_device_name(device_.index()),
                                            system_root::from_environment());
      if (!users.empty())
        log().warn("{}: disconnected while still {}", device_.path(), fmt::join(users, "; "));
    }
    co_await device_.disconnect();
  }

  const attach_options& options_;
  disk_server& server_;
  served_disk& disk_;
  nbd::kernel_attachment device_;
  background_start& start_;
  std::ostream& out_;
  bool left_behind_ = false;
};

asio::awaitable<void> serve_attached(const attach_options& options, nbd::kernel_driver& driver,
                                     background_start& start, disk_server& server,
                                     std::ostream& out) {
  attached_disk attached(options, server, std::move(driver), start, out);
  co_await attached.serve();
}

/// Lets a helper send the requests about one device to the kernel driver.
void delegate_device(confinement& confined, const attach_options& options, const claimed_disk& disk,
                     nbd::kernel_driver& driver) {
  confined_device device;
  device.index = options.device;
  device.identifier = device_identifier(disk.name());
  if (disk.held.kept) {
    device.index = disk.held.kept->index;
    device.is_connected = true;
  }
  confined.use_device(device);
  driver.use(confined.device());
}

cli::exit_code attach(const attach_options& options, std::ostream& out) {
  background_start start;
  if (options.background) start = start_in_background(out);
  if (start.outcome) return *start.outcome;
  auto driver = nbd::kernel_driver::open();
  check_device(options.device);
  protect_server(served_for::kernel);
  auto settings = options.server;
  settings.confined = options.confined;
  settings.needs = {.kernel_device = true, .syslog = options.background};
  with_disk_server(settings, {}, [&](const claimed_disks& claimed) -> disk_service {
    check_choice(options, claimed.disks.front());
    if (claimed.confined != nullptr)
      delegate_device(*claimed.confined, options, claimed.disks.front(), driver);
    return [&](disk_server& server) { return serve_attached(options, driver, start, server, out); };
  });
  return cli::exit_code::ok;
}

}  // namespace

void add_attach(cli::app& app) {
  static attach_options options;
  auto& command =
      app.add_command("attach", "create a block device for a PV disk, with the kernel NBD driver");
  command
      .describe(
          "Serves the disk to the guest kernel, without nbd-client and without a socket that "
          "others could connect to. Prints the device, for example /dev/nbd0, once it and its "
          "partitions exist. Requires the kernel module nbd (modprobe nbd) and CAP_SYS_ADMIN.")
      .describe(
          "The device stays until xenpv-disk detach, nbd-client -d, SIGTERM or SIGINT. It is "
          "resized when the disk is resized. Unmount it before you detach it: a file system that "
          "is still mounted loses data that has not been written yet.")
      .describe(
          "By default, requests wait for the backend without a time limit; with --timeout, the "
          "kernel resends a request that takes longer over a new connection. If this process is "
          "killed, new requests wait for --dead-timeout and then fail; without --timeout, requests "
          "that the process had not answered wait for the next server or for xenpv-disk detach.")
      .describe(
          "With --keep, the device remains when this process is stopped or killed, so that it can "
          "stay mounted across a crash or an upgrade: the next xenpv-disk attach --keep of the "
          "same disk takes the device over, and its requests continue. xenpv-disk detach removes "
          "the device. The kernel resends requests that a killed process had not answered about 2 "
          "seconds after the takeover. The device gets the timeouts of the new process; "
          "--connections and --read-only must be as before. See xenpv-recovery(7).")
      .describe(
          "If permitted (CAP_SYS_RESOURCE), the process does not wait for the disk when it "
          "allocates "
          "memory (PR_SET_IO_FLUSHER), and the OOM killer spares it. --swap also locks its memory, "
          "and fails without these privileges.")
      .describe(
          "SIGHUP stops a process that was started from a terminal, as SIGTERM does, because the "
          "terminal was closed; otherwise it has no effect. nohup(1) and --background prevent "
          "this.")
      .example("take over a disk that the kernel driver is using",
               "xenpv-disk attach xvdb --take --background")
      .example("attach and mount the disk", "mount $(xenpv-disk attach xvdb --background) /mnt");
  add_disk_argument(command, options.server);
  add_disk_options(command, options.server);
  command
      .argument("[DEVICE]", options.device, "/dev/nbdN (default: the kernel chooses a free one)",
                parse_device)
      .option("--connections N", options.connections,
              "connections between the kernel and this process (default: one per queue)",
              cli::whole_number<std::size_t>(1, 64))
      .option("--timeout DURATION", options.timeout,
              "resend requests that take longer than this, in whole seconds; 0: never",
              parse_seconds, {.by_default = "0"})
      .option("--dead-timeout DURATION", options.dead_timeout,
              "how long requests wait without a server (default: 30s, with --keep 10min)",
              parse_seconds)
      .flag("--keep", options.server.keep,
            "leave the device in place for the next server when this process exits")
      .flag("--background", options.background, "return once the device exists, and log to syslog");
  add_confinement_options(command, options.confined);
  command.action([](std::ostream& out) { return attach(options, out); });
}

}  // namespace xenpv::disk_app
