#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <memory>
#include <thread>

#include "base/block_device_users.hpp"
#include "base/device_opening.hpp"
#include "base/pipe.hpp"
#include "claim.hpp"
#include "cli/value.hpp"
#include "commands.hpp"
#include "kept_device.hpp"
#include "nbd/kernel_device.hpp"
#include "server_query.hpp"
#include "ublk/driver.hpp"
#include "wire/virtual_device.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/base/system_root.hpp"
#include "xenpv/nbd/kernel_driver.hpp"

namespace xenpv::disk_app {
namespace {

using std::chrono::steady_clock;

/// Time limit for other processes to close a device that they only probe: udev opens each new
/// device.
constexpr std::chrono::seconds probe_limit(2);
constexpr std::chrono::seconds opening_limit(5);
/// Time limit for the kernel to release the device, and then for the server to drain, flush and
/// close the disk.
constexpr std::chrono::seconds release_limit(30);
constexpr std::chrono::milliseconds poll_interval(50);

struct detach_options {
  std::string disk;
  bool force = false;
};

/// A kernel device and, if a xenpv-disk server created the device, the disk behind it.
struct target {
  kernel_device device;
  std::string disk;  ///< "xvdb"; empty unless xenpv-disk serves it or left it behind

  [[nodiscard]] std::string path() const { return device.path(); }
};

[[noreturn]] void throw_busy(const target& device, std::string_view why) {
  throw failure(std::make_error_code(std::errc::device_or_resource_busy),
                fmt::format("detach {}", device.path()), why);
}

/// Polls until `condition` is true or the time limit expires. Returns false if the limit expired.
template <class Condition>
bool wait_until(Condition condition, std::chrono::nanoseconds limit) {
  const auto deadline = steady_clock::now() + limit;
  while (!condition()) {
    if (steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(poll_interval);
  }
  return true;
}

/// Looks up a disk's leftover kernel device by the disk's guest name.
std::optional<target> find_left_behind(const std::string& name) {
  const auto node = name.substr(name.rfind('/') + 1);
  std::vector<std::string> names = {node};
  if (const auto number = wire::parse_virtual_device(node))
    if (auto guest = wire::linux_disk_name(*number)) names.push_back(std::move(*guest));
  for (const auto& candidate : names)
    if (const auto kept = find_kept_device(candidate)) return target{kept->device, candidate};
  return std::nullopt;
}

/// Throws `failure` if the device does not exist, or if another program owns it.
void require_own_device(const kernel_device& device, const std::string& action) {
  if (device.driver == device_driver::nbd) {
    if (!nbd::kernel_device_owner(device.index))
      throw failure(make_error_code(errc::not_available), action, "it is not connected");
    return;
  }
  const auto found = ublk::open_driver()->get_info(device.index);
  if (!found) throw failure(make_error_code(errc::not_available), action, "it does not exist");
  if (!is_device_token(found->ublksrv_flags))
    throw failure(errc::not_available, action,
                  fmt::format("xenpv-disk did not create it; use the program of process {}",
                              found->ublksrv_pid));
}

target find_target(const std::string& name) {
  const auto action = fmt::format("detach {}", name);
  const auto requested = parse_kernel_device(name);
  const auto answers = ask_servers("");
  for (const auto& report : answers.reports) {
    const auto& path = report.at("kernel_device");
    const auto device = parse_kernel_device(path.is_null() ? "" : path.get<std::string>());
    const bool is_meant = requested ? device == requested : names_disk(report, name);
    if (!is_meant) continue;
    if (device) return {*device, report.at("name").get<std::string>()};
    throw failure(make_error_code(errc::not_available), action,
                  fmt::format("process {} serves it over NBD, without a kernel device",
                              report.at("pid").get<int>()));
  }
  if (auto left_behind = requested ? std::nullopt : find_left_behind(name)) return *left_behind;
  if (!requested && !answers.silent.empty())
    throw failure(make_error_code(errc::timed_out), action,
                  fmt::format("{}; if that is the disk, name its device, such as /dev/nbd0",
                              describe(answers.silent.front())));
  if (!requested)
    throw failure(make_error_code(errc::not_available), action,
                  "it is not attached; see xenpv-disk status");
  require_own_device(*requested, action);
  return {*requested, disk_of_kept_device(*requested)};
}

/// Detects users that are not visible here, such as mounts in another namespace: while a device has
/// such a user, the kernel rejects an exclusive open.
void refuse_if_claimed(const target& device) {
  const auto path = system_root::from_environment().path(device.path()).string();
  device_opening opening(path, device_opening::purpose::claim);
  pollfd ready{opening.readable(), POLLIN, 0};
  const auto limit = std::chrono::milliseconds(opening_limit);
  if (::poll(&ready, 1, static_cast<int>(limit.count())) == 0)
    throw failure(make_error_code(errc::timed_out), fmt::format("open {}", device.path()),
                  "the device does not respond; use --force to detach it anyway");
  if (opening.outcome() == EBUSY)
    throw_busy(device, "it has a holder that is not visible here, such as a mount in a container");
}

void refuse_if_used(const target& device) {
  const auto root = system_root::from_environment();
  require_visible_openers(fmt::format("detach {}", device.path()), root);
  auto users = block_device_holders(device.device.name(), root);
  const auto is_unused = [&] {
    users = block_device_openers(device.device.name(), root);
    return users.empty();
  };
  if (!users.empty() || !wait_until(is_unused, probe_limit))
    throw_busy(device,
               fmt::format("it is {}; use --force to detach it anyway", fmt::join(users, "; ")));
  refuse_if_claimed(device);
}

/// Returns a check of whether the kernel has released the device.
std::function<bool()> make_release_check(const kernel_device& device) {
  const auto index = device.index;
  if (device.driver == device_driver::ublk) {
    auto driver = ublk::open_driver();
    const auto before = driver->get_info(index);
    // Another server may have been given the number.
    return [driver, index, token = before ? before->ublksrv_flags : 0] {
      const auto found = driver->get_info(index);
      return !found || found->ublksrv_flags != token;
    };
  }
  auto driver = std::make_shared<nbd::kernel_driver>(nbd::kernel_driver::open());
  return [driver, index] { return !driver->is_connected(index).value_or(false); };
}

/// Stops a ublk device. Its server, if there is one, then removes it.
void remove_ublk_device(const target& device) {
  const auto driver = ublk::open_driver();
  const auto index = device.device.index;
  const auto before = driver->get_info(index);
  if (!before) return;
  const auto is_released = make_release_check(device.device);
  driver->stop(index);
  const bool has_server = before->state == ublk::device_state::live;
  if (has_server && wait_until(is_released, probe_limit)) return;
  driver->remove(index);
}

/// Writes back the page cache, if there is a server that writes it to the disk.
void write_back(const target& device) {
  const auto found = ublk::open_driver()->get_info(device.device.index);
  if (!found || found->state != ublk::device_state::live) return;
  device_opening opening(system_root::from_environment().path(device.path()).string(),
                         device_opening::purpose::write_back);
  pollfd ready{opening.readable(), POLLIN, 0};
  const auto limit = std::chrono::milliseconds(release_limit);
  if (::poll(&ready, 1, static_cast<int>(limit.count())) == 0)
    throw failure(make_error_code(errc::timed_out), fmt::format("detach {}", device.path()),
                  fmt::format("its data cannot be written back, because process {} or the backend "
                              "does not respond; to lose it, use --force",
                              found->ublksrv_pid));
  if (const int code = opening.outcome(); code != 0)
    throw_errno(code, fmt::format("write back {}", device.path()));
}

/// Sends the request from a child process: the kernel may wait for a server that does not reply,
/// and this wait cannot be interrupted.
void disconnect(const target& device) {
  auto [reader, writer] = make_pipe();
  const auto child = ::fork();
  if (child < 0) throw_errno("start a process");
  if (child == 0) {
    std::string problem;
    try {
      if (device.device.driver == device_driver::ublk)
        remove_ublk_device(device);
      else
        nbd::kernel_driver::open().disconnect(device.device.index);
    } catch (const std::exception& e) {
      problem = e.what();
    }
    [[maybe_unused]] const auto written = ::write(writer.get(), problem.data(), problem.size());
    ::_exit(0);
  }
  writer.reset();
  pollfd ready{reader.get(), POLLIN, 0};
  const auto limit = std::chrono::milliseconds(release_limit);
  if (::poll(&ready, 1, static_cast<int>(limit.count())) == 0) {
    // It must not send its request later, when the device may have users again.
    ::kill(child, SIGKILL);
    throw failure(make_error_code(errc::timed_out), fmt::format("detach {}", device.path()),
                  "the kernel is waiting for a server that does not reply; kill that process");
  }
  char problem[1024];
  const auto size = ::read(reader.get(), problem, sizeof problem);
  ::waitpid(child, nullptr, 0);
  if (size > 0)
    throw failure(error{make_error_code(errc::lost_connection),
                        std::string(problem, static_cast<std::size_t>(size))});
}

/// Waits until the device can be connected again and the disk can be served again.
void wait_until_free(const target& device, const std::function<bool()>& is_released) {
  if (!wait_until(is_released, release_limit)) {
    const auto users = block_device_users(device.device.name(), system_root::from_environment());
    throw_busy(device, users.empty() ? std::string("it is disconnected, but still open")
                                     : fmt::format("it is disconnected, but still {}",
                                                   fmt::join(users, "; ")));
  }
  if (device.disk.empty()) return;
  const auto is_gone = [&] { return !is_locked(device.disk); };
  if (!wait_until(is_gone, release_limit))
    throw failure(
        make_error_code(errc::timed_out), fmt::format("detach {}", device.path()),
        fmt::format("the device is detached, but the process that served {} is still running",
                    device.disk));
}

cli::exit_code detach(const detach_options& options) {
  const auto device = find_target(options.disk);
  if (!options.force) {
    refuse_if_used(device);
    if (device.device.driver == device_driver::ublk) {
      write_back(device);
      refuse_if_used(device);  // it may have taken long
    }
  }
  const auto is_released = make_release_check(device.device);
  disconnect(device);
  wait_until_free(device, is_released);
  if (!device.disk.empty()) forget_device(device.disk);
  log().info("{}: detached{}{}", device.path(), device.disk.empty() ? "" : " from ", device.disk);
  return cli::exit_code::ok;
}

}  // namespace

void add_detach(cli::app& app) {
  static detach_options options;
  auto& command = app.add_command("detach", "detach the block device of a disk");
  command
      .describe(
          "Asks the kernel to release the device that xenpv-disk attach created, and waits until "
          "the process that served it has closed the disk. Also detaches a device that attach "
          "--keep left behind. Refuses if the device or one of its partitions is mounted, used as "
          "swap, part of another device, or open.")
      .argument("DISK", options.disk,
                "name of the disk (xvdb), or its device (/dev/ublkb0, /dev/nbd0)", cli::as_text)
      .flag("--force", options.force,
            "detach even if the device is in use: its users get I/O errors")
      .action([](std::ostream&) { return detach(options); });
}

}  // namespace xenpv::disk_app
