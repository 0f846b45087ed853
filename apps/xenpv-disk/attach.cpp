#include <fmt/format.h>
#include <fmt/ranges.h>

#include <ostream>

#include "background.hpp"
#include "commands.hpp"
#include "service.hpp"
#include "xenpv/base/block_device_users.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/cli/service_manager.hpp"
#include "xenpv/cli/value.hpp"
#include "xenpv/nbd/kernel_attachment.hpp"
#include "xenpv/nbd/kernel_device.hpp"

namespace xenpv::disk_app {
namespace {

namespace asio = async::asio;

/// How long requests wait when nobody answers any more. A device that is kept waits for its next
/// server, which a person may have to start.
constexpr std::chrono::seconds usual_dead_timeout(30);
constexpr std::chrono::minutes kept_dead_timeout(10);

struct attach_words {
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
                    "expected one of the kernel's NBD driver, as in /dev/nbd0");
}

/// The driver counts in seconds.
result<std::chrono::seconds> parse_seconds(std::string_view text, std::string_view what) {
  const auto value = parse_duration(text, what);
  if (!value) return value.error();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(*value);
  if (seconds == *value) return seconds;
  return make_error(errc::invalid_argument, fmt::format("{} '{}'", what, text),
                    "expected whole seconds");
}

/// Before the disk is touched: its present holder should not lose it for nothing.
void check_device(const std::optional<std::uint32_t>& index) {
  if (!index || !disk_of_kept_device(*index).empty()) return;
  if (const auto owner = nbd::kernel_device_owner(*index))
    throw failure(
        std::make_error_code(std::errc::device_or_resource_busy),
        fmt::format("attach to {}", nbd::kernel_device_path(*index)),
        fmt::format("process {} connected it; without a device the kernel finds a free one",
                    *owner));
}

nbd::attachment_options options_for(const attach_words& words, served_disk& disk) {
  nbd::attachment_options how;
  how.index = words.device;
  how.queues = disk.device.queue_count();
  how.keep = words.disk.keep;
  // More of them, and the kernel gives a request up that is merely slow.
  how.connections = words.connections.value_or(how.keep ? 1 : how.queues);
  how.timeout = words.timeout;
  how.dead_timeout = words.dead_timeout.value_or(how.keep ? std::chrono::seconds(kept_dead_timeout)
                                                          : usual_dead_timeout);
  how.identifier = device_identifier(disk.name);
  if (disk.kept) {
    how.adopted = disk.kept->index;
    how.connections = disk.kept->connections;
  }
  return how;
}

/// A kept device has its number already.
void check_choice(const attach_words& words, const claimed_disk& claimed) {
  const auto& kept = claimed.kept;
  if (!words.device || !kept || *words.device == kept->index) return;
  throw failure(
      make_error_code(errc::invalid_argument),
      fmt::format("attach {} to {}", claimed.disk.name, nbd::kernel_device_path(*words.device)),
      fmt::format("{} was left behind for it and may be in use",
                  nbd::kernel_device_path(kept->index)));
}

/// One attachment from its making to its end.
class attached_disk {
 public:
  attached_disk(const attach_words& words, served_disk& disk, nbd::kernel_driver driver,
                background_start& start, std::ostream& out)
      : words_(words),
        disk_(disk),
        device_(disk.on.control(), disk.server, std::move(driver), disk.device.shape(),
                options_for(words, disk)),
        start_(start),
        out_(out) {}

  asio::awaitable<void> serve() {
    service_work work;
    work.task = [this] { return keep(); };
    work.task_says_ready = true;
    work.reshaped = [this] { device_.reshape(disk_.device.shape()); };
    work.take_leave = [this] { return leave(); };
    endpoints nowhere;
    co_await serve_until_stopped(disk_, std::move(nowhere), std::move(work));
  }

 private:
  asio::awaitable<void> keep() {
    co_await device_.connect();
    disk_.kernel_device = device_.path();
    if (words_.disk.keep) co_await remember();
    tell();
    co_await device_.run();
    if (left_behind_) co_return;
    forget_device(disk_.name);
    log().info("{}: {} was disconnected", disk_.name, device_.path());
  }

  /// For who serves it next, also if that is after a crash.
  asio::awaitable<void> remember() {
    kept_device kept;
    kept.index = device_.index();
    kept.connected_by = nbd::kernel_device_owner(kept.index).value_or(0);
    kept.connections = options_for(words_, disk_).connections;
    kept.identity = co_await disk_.device.identity();
    remember_device(disk_.name, kept);
  }

  void tell() {
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

  /// Also of a disk whose backend is away for the moment: the next server waits for it as well.
  [[nodiscard]] bool is_to_be_left() const {
    const auto state = disk_.device.state();
    return words_.disk.keep && device_.is_connected() &&
           (state == blkfront::device_state::connected ||
            state == blkfront::device_state::recovering);
  }

  asio::awaitable<void> leave() {
    if (is_to_be_left()) {
      log().info("{}: {} is left to the next server; its requests wait for one", disk_.name,
                 device_.path());
      left_behind_ = true;
      device_.leave_behind();
      co_return;
    }
    if (device_.is_connected()) {
      const auto users = block_device_users(nbd::kernel_device_name(device_.index()),
                                            system_root::from_environment());
      if (!users.empty())
        log().warn("{}: taken away although it is {}", device_.path(), fmt::join(users, "; "));
    }
    co_await device_.disconnect();
  }

  const attach_words& words_;
  served_disk& disk_;
  nbd::kernel_attachment device_;
  background_start& start_;
  std::ostream& out_;
  bool left_behind_ = false;
};

asio::awaitable<void> serve_attached(const attach_words& words, nbd::kernel_driver& driver,
                                     background_start& start, served_disk& disk,
                                     std::ostream& out) {
  attached_disk attached(words, disk, std::move(driver), start, out);
  co_await attached.serve();
}

cli::exit_code attach(const attach_words& words, std::ostream& out) {
  background_start start;
  if (words.background) start = start_in_background(out);
  if (start.outcome) return *start.outcome;
  auto driver = nbd::kernel_driver::open();
  check_device(words.device);
  with_served_disk(words.disk, {}, [&](const claimed_disk& claimed) -> disk_service {
    check_choice(words, claimed);
    return [&](served_disk& disk) { return serve_attached(words, driver, start, disk, out); };
  });
  return cli::exit_code::ok;
}

}  // namespace

void add_attach(cli::app& app) {
  static attach_words words;
  auto& command =
      app.add_command("attach", "make a block device of a disk, by the kernel's NBD driver");
  command
      .describe(
          "Serves the disk to the kernel of this guest, without nbd-client and without a socket "
          "that others could connect to, and prints the device, /dev/nbd0 for instance, when it "
          "and its partitions are there. Needs the kernel's module nbd (modprobe nbd) and "
          "CAP_SYS_ADMIN.")
      .describe(
          "It stays until xenpv-disk detach, nbd-client -d, SIGTERM or SIGINT. When the disk is "
          "resized, so is the device. Unmount first: what is mounted when it ends loses what was "
          "not written yet.")
      .describe(
          "A request waits for as long as the backend takes; with --timeout one that takes longer "
          "is "
          "sent again over a new connection. If this process is killed, new requests wait for "
          "--dead-timeout and then fail; without --timeout those that it had not answered wait for "
          "xenpv-disk detach or the next server.")
      .describe(
          "With --keep the device outlives this process, killed or stopped, so that it may stay "
          "mounted over a crash or an upgrade: the next xenpv-disk attach --keep of the same disk "
          "takes it over, and its requests go on. xenpv-disk detach ends it. Requests that a "
          "killed process had not answered are sent again some 2 seconds after that. See "
          "xenpv-recovery(7).")
      .example("take over a disk that the kernel's driver is using",
               "xenpv-disk attach xvdb --take --background")
      .example("mount it", "mount $(xenpv-disk attach xvdb --background) /mnt");
  add_disk_options(command, words.disk);
  command
      .argument("[DEVICE]", words.device, "/dev/nbdN; without it the kernel chooses a free one",
                parse_device)
      .option("--connections N", words.connections,
              "connections between the kernel and this process (default: as many as queues)",
              cli::whole_number<std::size_t>(1, 64))
      .option("--timeout DURATION", words.timeout,
              "send a request again that takes longer than this, in whole seconds; 0: never",
              parse_seconds, {.by_default = "0"})
      .option("--dead-timeout DURATION", words.dead_timeout,
              "how long requests wait when nobody answers any more (default: 30s, with --keep "
              "10min)",
              parse_seconds)
      .flag("--keep", words.disk.keep,
            "leave the device in place when this process ends, for the next one")
      .flag("--background", words.background,
            "return when the device is there; the log goes to syslog")
      .action([](std::ostream& out) { return attach(words, out); });
}

}  // namespace xenpv::disk_app
