#include "claim.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <limits>
#include <utility>

#include "base/parse.hpp"
#include "blkfront/emulated_disk.hpp"
#include "blkfront/kernel_driver.hpp"
#include "confinement.hpp"
#include "xenpv/async/shield.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/base/system_root.hpp"
#include "xenpv/xen/custodian.hpp"
#include "xenpv/xen/grant_share.hpp"

namespace xenpv::disk_app {
namespace {

using blkfront::device_holder;
using blkfront::listed_device;

/// How long a custodian may need to close a disk: its handshake time limit plus a margin.
/// (Custodian: a helper process that keeps descriptors open and closes devices after a crash.)
constexpr std::chrono::seconds custodian_limit(70);
constexpr std::chrono::milliseconds claim_poll_interval(50);

/// True if the process is running; false for a zombie.
bool is_running(pid_t process) {
  std::ifstream status(fmt::format("/proc/{}/status", process));
  // A mount option of /proc (hidepid) may hide the processes of other users.
  if (!status) return ::kill(process, 0) == 0 || errno == EPERM;
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("State:")) return line.find('Z') == std::string::npos;
  return false;
}

/// Reads the process ID from the lock file. Returns 0 if the file does not contain one yet.
pid_t owner_of(const unique_fd& lock) {
  char text[32] = {};
  const auto size = ::pread(lock.get(), text, sizeof text - 1, 0);
  const auto number = parse_unsigned(std::string_view(text, size > 0 ? std::size_t(size) : 0),
                                     "process", 0, std::numeric_limits<pid_t>::max());
  return number ? static_cast<pid_t>(*number) : 0;
}

asio::awaitable<void> take_lock(async::runtime& runtime, const unique_fd& lock,
                                const std::string& disk) {
  const auto deadline = std::chrono::steady_clock::now() + custodian_limit;
  asio::steady_timer timer(runtime.control());
  bool logged = false;
  while (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    const auto owner = owner_of(lock);
    const auto action = fmt::format("serve {}", disk);
    if (owner == 0 || is_running(owner))
      throw failure(std::make_error_code(std::errc::device_or_resource_busy), action,
                    fmt::format("already served by process {}; see xenpv-disk status", owner));
    if (std::chrono::steady_clock::now() >= deadline)
      throw failure(make_error_code(errc::timed_out), action,
                    fmt::format("process {} has exited, but its custodian (helper process) has not "
                                "closed the disk; look for a process called xenpv-custodian",
                                owner));
    if (!std::exchange(logged, true))
      log().info("{}: process {} has exited; its custodian (helper process) is closing the disk",
                 disk, owner);
    timer.expires_after(claim_poll_interval);
    co_await timer.async_wait(asio::use_awaitable);
  }
}

asio::awaitable<unique_fd> open_lock(async::runtime& runtime, const listed_device& disk) {
  const auto path = fmt::format("{}/{}.lock", runtime_directory(), disk.name);
  unique_fd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock) throw_errno(fmt::format("open {}", path));
  co_await take_lock(runtime, lock, disk.name);
  const auto pid = fmt::format("{}", ::getpid());
  if (::ftruncate(lock.get(), 0) != 0 ||
      ::pwrite(lock.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size()))
    throw_errno(fmt::format("write {}", path));
  co_return lock;
}

/// Returns the kernel device that a previous server left behind. Throws for such a device unless
/// `keep` is set, because writes by other clients would make the device's page cache stale.
std::optional<kept_device> find_left_behind(const std::string& disk, bool keep) {
  auto kept = find_kept_device(disk);
  if (!kept || keep) return kept;
  const auto path = kept->device.path();
  throw failure(std::make_error_code(std::errc::device_or_resource_busy),
                fmt::format("serve {}", disk),
                fmt::format("a previous server left {} behind; take it over with xenpv-disk attach "
                            "--keep {}, or remove it with xenpv-disk detach {}",
                            path, disk, path));
}

/// Throws if this guest cannot grant pages. Called before the kernel releases the disk.
void check_grants(const listed_device& disk) {
  constexpr std::string_view prefix = "/local/domain/";
  if (!disk.backend.starts_with(prefix)) return;
  const auto rest = std::string_view(disk.backend).substr(prefix.size());
  const auto domain = parse_whole<std::uint16_t>(rest.substr(0, rest.find('/')));
  if (domain) (void)xen::grant_sharer::open().share(domid{*domain}, 1, false);
}

}  // namespace

std::string runtime_directory() {
  const auto path = system_root::from_environment().path("/run/xenpv");
  std::error_code ignored;
  std::filesystem::create_directories(path, ignored);
  if (::access(path.c_str(), W_OK) != 0)
    throw_errno(fmt::format("use {}", path.string()), "are you root?");
  return path.string();
}

asio::awaitable<locked_disk> lock_disk(async::runtime& runtime, std::string name, bool keep) {
  const auto devices = co_await blkfront::list_devices(runtime.store());
  locked_disk out;
  out.disk = blkfront::find_device(devices, name).value();
  out.lock = co_await open_lock(runtime, out.disk);
  // The custodian holds the lock until it has closed the disk, so that no other server starts
  // before then.
  if (runtime.custodian() != nullptr) runtime.custodian()->hold(out.lock.get());
  out.kept = find_left_behind(out.disk.name, keep);
  co_return out;
}

bool is_locked(const std::string& name) {
  const auto path = fmt::format("{}/{}.lock", runtime_directory(), name);
  const unique_fd lock(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return lock && ::flock(lock.get(), LOCK_SH | LOCK_NB) != 0;
}

void check_claim(const listed_device& disk, const device_options& options) {
  const auto action = fmt::format("serve {}", disk.name);
  if (!options.force) blkfront::refuse_emulated_twin(disk, action);
  if (disk.holder != device_holder::kernel) return;
  if (!options.take)
    throw failure(std::make_error_code(std::errc::device_or_resource_busy), action,
                  fmt::format("the kernel driver is using it; use --take, or as root: echo "
                              "vbd-{} > /sys/bus/xen/drivers/vbd/unbind",
                              disk.number));
  blkfront::check_release(disk);
}

asio::awaitable<void> give_back(async::runtime& runtime, listed_device disk,
                                confinement* confined) {
  constexpr std::chrono::seconds limit(5);
  try {
    auto root = system_root::from_environment();
    blkfront::driver_delegate delegate;
    if (confined != nullptr && confined->is_applied()) {
      delegate.bind = [&] { confined->bind(disk.name); };
      delegate.unbind = [&] { confined->unbind(disk.name); };
    }
    const auto name = co_await blkfront::give_to_kernel(runtime.store(), disk, std::move(root),
                                                        limit, std::move(delegate));
    log().info("{}: returned to the kernel driver, as /dev/{}", disk.name, name);
  } catch (const std::exception& problem) {
    log().error("{}", problem.what());
  }
}

asio::awaitable<connected_disk> connect_disk(async::runtime& runtime, listed_device disk,
                                             device_options options, std::string identity) {
  check_claim(disk, options);
  check_grants(disk);
  connected_disk out;
  if (disk.holder == device_holder::kernel) {
    blkfront::take_from_kernel(disk);
    out.taken = true;
    log().info("{}: taken over from the kernel driver", disk.name);
  }
  auto undo = [&]() -> asio::awaitable<void> {
    if (out.taken) co_await give_back(runtime, disk);
  };
  auto opening =
      blkfront::frontend::open_again(runtime, disk.path, options.frontend, std::move(identity));
  out.device = co_await async::clean_up_on_failure(std::move(opening), undo);
  co_return out;
}

}  // namespace xenpv::disk_app
