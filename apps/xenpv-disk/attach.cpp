#include <fmt/format.h>
#include <fmt/ranges.h>

#include <ostream>

#include "background.hpp"
#include "base/block_device_users.hpp"
#include "cli/service_manager.hpp"
#include "cli/value.hpp"
#include "commands.hpp"
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
  disk_options disk;
  std::optional<std::uint32_t> device;
  std::optional<std::size_t> connections;
  std::chrono::seconds timeout{0};
  std::optional<std::chrono::seconds> dead_timeout;
  bool background = false;
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
  out.keep = options.disk.keep;
  // With several connections, the kernel drops connections whose requests are merely slow.
  out.connections = options.connections.value_or(out.keep ? 1 : out.queues);
  out.timeout = options.timeout;
  out.dead_timeout = options.dead_timeout.value_or(
      out.keep ? std::chrono::seconds(kept_dead_timeout) : usual_dead_timeout);
  out.identifier = device_identifier(disk.name);
  if (disk.kept) {
    out.adopted = disk.kept->index;
    out.connections = disk.kept->connections;
  }
  return out;
}

/// Throws if the user chose a device other than the one kept for the disk.
void check_choice(const attach_options& options, const claimed_disk& claimed) {
  const auto& kept = claimed.kept;
  if (!options.device || !kept || *options.device == kept->index) return;
  throw failure(
      make_error_code(errc::invalid_argument),
      fmt::format("attach {} to {}", claimed.disk.name, nbd::kernel_device_path(*options.device)),
      fmt::format("a previous server left {} behind for this disk, and it may be in use",
                  nbd::kernel_device_path(kept->index)));
}

/// One attachment, from the creation of the device to its removal.
class attached_disk {
 public:
  attached_disk(const attach_options& options, served_disk& disk, nbd::kernel_driver driver,
                background_start& start, std::ostream& out)
      : options_(options),
        disk_(disk),
        device_(disk.runtime.control(), disk.server, std::move(driver), disk.device.shape(),
                attachment_options_for(options, disk)),
        start_(start),
        out_(out) {}

  asio::awaitable<void> serve() {
    service_work work;
    work.task = [this] { return run(); };
    work.task_says_ready = true;
    work.reshaped = [this] { device_.reshape(disk_.device.shape()); };
    work.before_stop = [this] { return leave(); };
    endpoints nowhere;
    co_await serve_until_stopped(disk_, std::move(nowhere), std::move(work));
  }

 private:
  asio::awaitable<void> run() {
    co_await device_.connect();
    disk_.kernel_device = device_.path();
    if (options_.disk.keep) co_await remember();
    report_ready();
    co_await device_.run();
    if (left_behind_) co_return;
    forget_device(disk_.name);
    log().info("{}: {} was disconnected", disk_.name, device_.path());
  }

  /// Records the device for the next server, which may start after this server has crashed.
  asio::awaitable<void> remember() {
    kept_device kept;
    kept.index = device_.index();
    kept.connected_by = nbd::kernel_device_owner(kept.index).value_or(0);
    kept.connections = attachment_options_for(options_, disk_).connections;
    kept.identity = co_await disk_.device.identity();
    remember_device(disk_.name, kept);
  }

  void report_ready() {
    disk_.is_ready = true;
    log().info("{}: {} as {}", disk_.name, disk_.kept ? "attached again" : "attached",
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
    return options_.disk.keep && device_.is_connected() &&
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
  served_disk& disk_;
  nbd::kernel_attachment device_;
  background_start& start_;
  std::ostream& out_;
  bool left_behind_ = false;
};

asio::awaitable<void> serve_attached(const attach_options& options, nbd::kernel_driver& driver,
                                     background_start& start, served_disk& disk,
                                     std::ostream& out) {
  attached_disk attached(options, disk, std::move(driver), start, out);
  co_await attached.serve();
}

cli::exit_code attach(const attach_options& options, std::ostream& out) {
  background_start start;
  if (options.background) start = start_in_background(out);
  if (start.outcome) return *start.outcome;
  auto driver = nbd::kernel_driver::open();
  check_device(options.device);
  with_served_disk(options.disk, {}, [&](const claimed_disk& claimed) -> disk_service {
    check_choice(options, claimed);
    return [&](served_disk& disk) { return serve_attached(options, driver, start, disk, out); };
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
          "seconds after the takeover. See xenpv-recovery(7).")
      .example("take over a disk that the kernel driver is using",
               "xenpv-disk attach xvdb --take --background")
      .example("attach and mount the disk", "mount $(xenpv-disk attach xvdb --background) /mnt");
  add_disk_options(command, options.disk);
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
      .flag("--keep", options.disk.keep,
            "leave the device in place for the next server when this process exits")
      .flag("--background", options.background, "return once the device exists, and log to syslog")
      .action([](std::ostream& out) { return attach(options, out); });
}

}  // namespace xenpv::disk_app
