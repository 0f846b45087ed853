#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include "blkfront/kernel_driver.hpp"
#include "claim.hpp"
#include "cli/value.hpp"
#include "commands.hpp"
#include "xenpv/async/runtime.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::disk_app {
namespace {

using blkfront::device_holder;
using blkfront::listed_device;

struct release_options {
  std::string disk;
  bool undo = false;
};

/// Exists while the disk is released, but not served yet: --undo must not return a disk that the
/// administrator or a server has unbound.
constexpr std::string_view record_suffix = ".released";

std::string record_path(const std::string& disk) {
  return fmt::format("{}/{}{}", runtime_directory(), disk, record_suffix);
}

/// Without xenstore: a service manager also calls --undo between a crash and the restart, while the
/// users of the device wait.
bool has_any_record() {
  for (const auto& entry : std::filesystem::directory_iterator(runtime_directory()))
    if (entry.path().extension() == record_suffix) return true;
  return false;
}

void report_nothing(const std::string& disk) {
  log().info("{}: there is nothing to undo", disk);
}

asio::awaitable<listed_device> find_disk(async::runtime& runtime, const std::string& name) {
  const auto devices = co_await blkfront::list_devices(runtime.store());
  co_return blkfront::find_device(devices, name).value();
}

asio::awaitable<void> release_disk(async::runtime& runtime, const release_options& options) {
  const auto disk = co_await find_disk(runtime, options.disk);
  if (disk.holder != device_holder::kernel) {
    log().info("{}: the kernel driver is not using it", disk.name);
    co_return;
  }
  const auto locked = co_await lock_disk(runtime, options.disk, true);
  const auto path = record_path(disk.name);
  if (const unique_fd record(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600)); !record)
    throw_errno(fmt::format("create {}", path));
  try {
    blkfront::take_from_kernel(disk);
  } catch (...) {
    ::unlink(path.c_str());
    throw;
  }
  log().info("{}: released by the kernel driver", disk.name);
}

asio::awaitable<void> undo_release(async::runtime& runtime, const release_options& options) {
  // The record has the name in this guest; the disk may be named as by the toolstack.
  const auto path = record_path((co_await find_disk(runtime, options.disk)).name);
  const auto has_record = [&] { return ::access(path.c_str(), F_OK) == 0; };
  if (!has_record()) {
    report_nothing(options.disk);
    co_return;
  }
  const auto locked = co_await lock_disk(runtime, options.disk, true);
  // Locking may have waited for a custodian, or for another --undo.
  if (!has_record()) co_return;
  auto disk = co_await find_disk(runtime, options.disk);
  if (!locked.kept && disk.holder != device_holder::kernel) {
    const auto device = co_await blkfront::give_to_kernel(runtime.store(), disk);
    log().info("{}: returned to the kernel driver, as /dev/{}", disk.name, device);
  }
  // Removed last, so that --undo can be repeated after a failure.
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) throw_errno(fmt::format("remove {}", path));
}

cli::exit_code run_release(const release_options& options) {
  if (options.undo && !has_any_record()) {
    report_nothing(options.disk);
    return cli::exit_code::ok;
  }
  async::runtime_options settings;
  settings.with_custodian = false;
  settings.with_log_thread = false;
  async::runtime runtime(std::move(settings));
  runtime.run([&](async::runtime& self) {
    return options.undo ? undo_release(self, options) : release_disk(self, options);
  });
  return cli::exit_code::ok;
}

}  // namespace

void add_release(cli::app& app) {
  static release_options options;
  auto& command = app.add_command("release", "make the kernel driver release a PV disk");
  command
      .describe(
          "Does what --take does before the disk is connected: checks that nothing uses the disk, "
          "and unbinds the kernel driver from it. A server can then start with fewer privileges, "
          "because only this check must see the open files of all processes (CAP_SYS_PTRACE, "
          "CAP_DAC_READ_SEARCH). Does nothing if the kernel driver is not using the disk.")
      .describe(
          "--undo returns a disk that was released, but not served afterwards. The server, or its "
          "service manager, removes /run/xenpv/DISK.released once the disk is served: there is "
          "then nothing to undo.")
      .argument("DISK", options.disk, std::string(disk_help), cli::as_text)
      .flag("--undo", options.undo, "return a released disk to the kernel driver")
      .action([](std::ostream&) { return run_release(options); });
}

}  // namespace xenpv::disk_app
