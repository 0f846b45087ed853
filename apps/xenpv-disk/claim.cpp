#include "claim.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>

#include "xenpv/base/log.hpp"
#include "xenpv/base/system_root.hpp"
#include "xenpv/blkfront/kernel_driver.hpp"

namespace xenpv::disk_app {
namespace {

using blkfront::device_holder;
using blkfront::listed_device;

unique_fd open_lock(const listed_device& disk) {
  const auto path = fmt::format("{}/{}.lock", runtime_directory(), disk.name);
  unique_fd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock) throw_errno(fmt::format("open {}", path));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    char owner[32] = {};
    [[maybe_unused]] const auto got = ::pread(lock.get(), owner, sizeof owner - 1, 0);
    throw failure(std::make_error_code(std::errc::device_or_resource_busy),
                  fmt::format("serve {}", disk.name),
                  fmt::format("process {} serves it already; see xenpv-disk status", owner));
  }
  const auto own = fmt::format("{}", ::getpid());
  if (::ftruncate(lock.get(), 0) != 0 ||
      ::pwrite(lock.get(), own.data(), own.size(), 0) != static_cast<ssize_t>(own.size()))
    throw_errno(fmt::format("write {}", path));
  return lock;
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

async::asio::awaitable<locked_disk> lock_disk(async::runtime& on, std::string word) {
  const auto devices = co_await blkfront::list_devices(on.store());
  locked_disk out;
  out.disk = blkfront::find_device(devices, word).value();
  out.lock = open_lock(out.disk);
  co_return out;
}

bool is_locked(const std::string& name) {
  const auto path = fmt::format("{}/{}.lock", runtime_directory(), name);
  const unique_fd lock(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return lock && ::flock(lock.get(), LOCK_SH | LOCK_NB) != 0;
}

void take_if_held(const listed_device& disk, bool take) {
  if (disk.holder != device_holder::kernel) return;
  if (!take)
    throw failure(std::make_error_code(std::errc::device_or_resource_busy),
                  fmt::format("serve {}", disk.name),
                  fmt::format("the kernel's driver holds it; --take asks for it, or as root: "
                              "echo vbd-{} > /sys/bus/xen/drivers/vbd/unbind",
                              disk.number));
  blkfront::take_from_kernel(disk);
  log().info("{}: taken from the kernel's driver", disk.name);
}

}  // namespace xenpv::disk_app
