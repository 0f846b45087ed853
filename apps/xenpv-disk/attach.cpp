#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/utsname.h>

#include <cstdio>
#include <ostream>
#include <utility>

#include "attach_options.hpp"
#include "attached_device.hpp"
#include "background.hpp"
#include "base/block_device_users.hpp"
#include "cli/service_manager.hpp"
#include "cli/value.hpp"
#include "commands.hpp"
#include "memory_lock.hpp"
#include "nbd/kernel_device.hpp"
#include "nbd_device.hpp"
#include "service.hpp"
#include "ublk/device_name.hpp"
#include "ublk/driver.hpp"
#include "ublk_device.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::disk_app {
namespace {

result<kernel_device> parse_device(std::string_view text) {
  if (const auto device = parse_kernel_device(text)) return *device;
  return make_error(errc::invalid_argument, fmt::format("device '{}'", text),
                    "expected /dev/nbdN or /dev/ublkbN");
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

/// True if the kernel can remove the request timeout of a connected device (Linux 5.9).
bool can_remove_timeout() {
  utsname kernel{};
  int major = 0;
  int minor = 0;
  if (::uname(&kernel) != 0 || std::sscanf(kernel.release, "%d.%d", &major, &minor) != 2)
    return false;
  return std::pair(major, minor) >= std::pair(5, 9);
}

bool is_read_only(const kernel_device& device) {
  const auto found = device.driver == device_driver::ublk
                         ? ublk::device_is_read_only(device.index)
                         : nbd::kernel_device_is_read_only(device.index);
  return found.value_or(false);
}

/// Throws if the options contradict the device that a previous server left behind for the disk.
void check_choice(const attach_options& options, const claimed_disk& claimed) {
  if (!claimed.held.kept) return;
  const auto& kept = *claimed.held.kept;
  const bool stays_read_only = is_read_only(kept.device);
  check_takeover(options, kept, claimed.name(), stays_read_only, can_remove_timeout()).value();
  if (!options.server.read_only && stays_read_only)
    log().warn(
        "{}: it stays read-only, as a previous server attached it; to change this, detach it",
        kept.device.path());
}

/// The kernel drivers that may create the device; one of them is set.
struct open_drivers {
  std::optional<nbd::kernel_driver> nbd;
  std::shared_ptr<ublk::kernel_driver> ublk;
};

/// Opens the driver that the options or the kept device require. Otherwise, prefers ublk where it
/// is loaded, because a request then crosses no socket.
open_drivers open_driver(const attach_options& options, const std::optional<kept_device>& kept) {
  open_drivers out;
  const auto required =
      kept ? std::optional(kept->device.driver) : required_driver(options).value();
  if (required == device_driver::ublk || (!required && ublk::is_loaded())) {
    try {
      out.ublk = open_ublk_driver();
    } catch (const failure& problem) {
      if (required) throw;
      log().info("the kernel's ublk driver cannot be used, so the device is an NBD device: {}",
                 problem.what());
    }
  }
  if (!out.ublk) out.nbd = nbd::kernel_driver::open();
  return out;
}

/// Throws `failure` if no suitable driver is loaded. Called first, so that the error is the only
/// message.
void require_driver(const attach_options& options) {
  const auto required = required_driver(options).value();
  const bool may_be_ublk = required == device_driver::ublk || !required;
  if (may_be_ublk && ublk::is_loaded()) return;
  if (required == device_driver::ublk)
    (void)ublk::open_driver();
  else
    (void)nbd::kernel_driver::open();
}

/// One attachment, from the creation of the device to its removal.
class attached_disk {
 public:
  attached_disk(const attach_options& options, open_drivers drivers, background_start& start,
                std::ostream& out)
      : options_(options), drivers_(std::move(drivers)), start_(start), out_(out) {}

  asio::awaitable<void> open(disk_server& server) {
    server_ = &server;
    auto identity = co_await disk().device.identity();
    if (drivers_.ublk)
      device_ = make_ublk_device(options_, server, std::move(drivers_.ublk));
    else
      device_ = make_nbd_device(options_, server, *std::move(drivers_.nbd));
    co_await device_->open(*server.confined, std::move(identity));
  }

  asio::awaitable<void> serve() {
    service_work work;
    work.task = [this] { return run(); };
    work.task_says_ready = true;
    work.reshaped = [this] { device_->set_geometry(disk().device.shape()); };
    work.before_stop = [this] { return leave(); };
    endpoints nowhere;
    co_await serve_until_stopped(*server_, std::move(nowhere), std::move(work));
  }

  asio::awaitable<void> abandon() { return device_->abandon(); }

 private:
  [[nodiscard]] served_disk& disk() const { return server_->disks.front(); }
  [[nodiscard]] std::string path() const { return device_->device().path(); }

  asio::awaitable<void> run() {
    co_await device_->connect(*server_->confined);
    disk().attached = {device_->device(), device_->plan()};
    // It may have changed before changes were reported.
    device_->set_geometry(disk().device.shape());
    report_ready();
    co_await device_->run();
    if (left_behind_) co_return;
    forget();
    log().info("{}: {} was disconnected", disk().name, path());
  }

  /// A leftover record is harmless: it names a device that is no longer connected.
  void forget() {
    try {
      server_->confined->forget_device();
    } catch (const failure& problem) {
      log().warn("{}", problem.what());
    }
  }

  void report_ready() {
    const auto& name = disk().name;
    server_->is_ready = true;
    log().info("{}: {} as {}", name, disk().claimed.held.kept ? "attached again" : "attached",
               path());
    cli::notify_service_manager(fmt::format("READY=1\nSTATUS=serving {} as {}", name, path()));
    if (start_.ready)
      announce(start_, path());
    else
      (out_ << path() << '\n').flush();
  }

  /// Also true while the backend is lost: the next server also waits for the backend.
  [[nodiscard]] bool stays_for_next_server() const {
    const auto state = disk().device.state();
    return options_.server.keep && device_->is_connected() &&
           (state == blkfront::device_state::connected ||
            state == blkfront::device_state::recovering);
  }

  asio::awaitable<void> leave() {
    if (stays_for_next_server()) {
      log().info("{}: leaving {} in place for the next server; its requests wait until then",
                 disk().name, path());
      left_behind_ = true;
      co_return co_await device_->leave_behind();
    }
    if (device_->is_connected()) {
      const auto users =
          block_device_users(device_->device().name(), system_root::from_environment());
      if (!users.empty())
        log().warn("{}: disconnected while still {}", path(), fmt::join(users, "; "));
    }
    co_await device_->disconnect();
  }

  const attach_options& options_;
  open_drivers drivers_;
  background_start& start_;
  std::ostream& out_;
  disk_server* server_ = nullptr;            ///< set by open()
  std::unique_ptr<attached_device> device_;  ///< likewise
  bool left_behind_ = false;
};

disk_service prepare(const attach_options& options, const claimed_disk& claimed,
                     background_start& start, std::ostream& out) {
  check_choice(options, claimed);
  auto drivers = open_driver(options, claimed.held.kept);
  if (drivers.ublk)
    check_ublk_device(options, claimed.held.disk, *drivers.ublk);
  else
    check_nbd_device(options, claimed.name());
  const auto attached = std::make_shared<attached_disk>(options, std::move(drivers), start, out);
  disk_service service;
  service.open = [attached](disk_server& server) { return attached->open(server); };
  service.serve = [attached](disk_server&) { return attached->serve(); };
  service.abandon = [attached] { return attached->abandon(); };
  return service;
}

cli::exit_code attach(const attach_options& options, std::ostream& out) {
  background_start start;
  if (options.background) start = start_in_background(out);
  if (start.outcome) return *start.outcome;
  require_driver(options);
  protect_server(served_for::kernel);
  auto settings = options.server;
  settings.confined = options.confined;
  settings.needs = {.kernel_device = true, .syslog = options.background};
  with_disk_server(settings, {}, [&](const claimed_disks& claimed) {
    return prepare(options, claimed.disks.front(), start, out);
  });
  return cli::exit_code::ok;
}

}  // namespace

void add_attach(cli::app& app) {
  static attach_options options;
  auto& command = app.add_command(
      "attach", "create a block device for a PV disk, with the kernel's ublk or NBD driver");
  command
      .describe(
          "Serves the disk to the guest kernel, without nbd-client and without a socket that "
          "others could connect to. Prints the device, for example /dev/ublkb0 or /dev/nbd0, once "
          "it and its partitions exist. Requires CAP_SYS_ADMIN.")
      .describe(
          "Uses the kernel's ublk driver if it is loaded (modprobe ublk_drv; Linux 6.5 or later), "
          "and the NBD driver (modprobe nbd) otherwise; --driver selects one of them. With ublk, "
          "requests cross no socket and are copied once, so it needs less CPU time. NBD offers "
          "several connections and timeouts: --connections, --timeout and --dead-timeout imply it. "
          "A ublk device can be resized from Linux 6.16 on, an NBD device with any version.")
      .describe(
          "The device stays until xenpv-disk detach, nbd-client -d, SIGTERM or SIGINT. If "
          "the kernel can, it is resized when the disk is resized. Unmount it before you detach "
          "it: a file system that "
          "is still mounted loses data that has not been written yet.")
      .describe(
          "By default, requests wait for the backend without a time limit; with --timeout, the "
          "kernel resends a request to an NBD device that takes longer over a new connection. If "
          "this process is killed, a ublk device disappears, and its requests fail. New requests "
          "to an NBD device wait for --dead-timeout and then fail; without --timeout, requests "
          "that the process had not answered wait for the next server or for xenpv-disk detach.")
      .describe(
          "With --keep, the device remains when this process is stopped or killed, so that it can "
          "stay mounted across a crash or an upgrade: the next xenpv-disk attach --keep of the "
          "same disk takes the device over, and its requests continue. xenpv-disk detach removes "
          "the device. The kernel resends requests that a killed process had not answered about 2 "
          "seconds after the takeover. An NBD device gets the timeouts of the new process; "
          "--driver, --connections and --read-only must be as before. See xenpv-recovery(7).")
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
      .argument("[DEVICE]", options.device,
                "/dev/ublkbN or /dev/nbdN (default: the kernel chooses a free one)", parse_device)
      .option("--driver DRIVER", options.driver,
              "the kernel driver of the device: auto, ublk or nbd",
              cli::one_of<driver_choice>({{"auto", driver_choice::automatic},
                                          {"ublk", driver_choice::ublk},
                                          {"nbd", driver_choice::nbd}}),
              {.by_default = "auto"})
      .option(
          "--connections N", options.connections,
          "connections between the kernel and this process, for an NBD device (default: one per "
          "queue)",
          cli::whole_number<std::size_t>(1, 64))
      .option("--timeout DURATION", options.timeout,
              "resend requests to an NBD device that take longer than this, in whole seconds; 0: "
              "never (default: 0)",
              parse_seconds)
      .option("--dead-timeout DURATION", options.dead_timeout,
              "how long requests to an NBD device wait without a server (default: 30s, with --keep "
              "10min)",
              parse_seconds)
      .flag("--keep", options.server.keep,
            "leave the device in place for the next server when this process exits")
      .flag("--background", options.background, "return once the device exists, and log to syslog");
  add_confinement_options(command, options.confined);
  command.action([](std::ostream& out) { return attach(options, out); });
}

}  // namespace xenpv::disk_app
