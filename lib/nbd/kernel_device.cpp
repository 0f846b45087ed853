#include "nbd/kernel_device.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <limits>

#include "base/numbered_device.hpp"
#include "base/parse.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::nbd {
namespace {

constexpr std::uint64_t sysfs_sector = 512;  // regardless of the device's sector size

/// Moves `descriptor` to number 0 and closes all other descriptors. Runs after fork() in a
/// multi-threaded process, so it may only make system calls.
void keep_only(int descriptor) {
  constexpr int max_descriptors = 65536;
  ::dup2(descriptor, 0);
  if (::syscall(SYS_close_range, 1U, ~0U, 0U) == 0) return;
  // Fallback for kernels before 5.9.
  for (int other = 1; other < max_descriptors; ++other)
    ::close(other);
}

int try_open(const char* path, device_opening::purpose intent) {
  const int flags = intent == device_opening::purpose::claim ? O_RDONLY | O_EXCL : O_RDONLY;
  const int device = ::open(path, flags | O_CLOEXEC);
  if (device < 0) return errno;
  if (intent == device_opening::purpose::write_back && ::fsync(device) != 0) return errno;
  return 0;
}

[[noreturn]] void run_child(const char* path, device_opening::purpose intent, int report) {
  // The parent's signal handlers would write to closed descriptors.
  for (const int number : {SIGTERM, SIGINT, SIGHUP})
    ::signal(number, SIG_DFL);
  keep_only(report);
  const int outcome = try_open(path, intent);
  [[maybe_unused]] const auto written = ::write(0, &outcome, sizeof outcome);
  ::_exit(0);
}

}  // namespace

std::string kernel_device_name(std::uint32_t index) {
  return fmt::format("nbd{}", index);
}

std::string kernel_device_path(std::uint32_t index) {
  return "/dev/" + kernel_device_name(index);
}

std::optional<std::uint32_t> kernel_device_index(std::string_view name) {
  return parse_numbered_device(name, "nbd");
}

std::optional<pid_t> kernel_device_owner(std::uint32_t index, const system_root& root) {
  const auto text = root.read(fmt::format("/sys/block/{}/pid", kernel_device_name(index)));
  if (!text) return std::nullopt;
  const auto number = parse_unsigned(*text, "pid", 0, std::numeric_limits<pid_t>::max());
  return number ? static_cast<pid_t>(*number) : 0;
}

std::optional<std::string> kernel_device_identifier(std::uint32_t index, const system_root& root) {
  return root.read(fmt::format("/sys/block/{}/backend", kernel_device_name(index)));
}

void require_kernel_device(std::uint32_t index, std::string_view identifier,
                           std::string_view operation, const system_root& root) {
  const auto found = kernel_device_identifier(index, root);
  if (found == identifier) return;
  const auto path = kernel_device_path(index);
  throw failure(make_error_code(errc::not_available), operation,
                found ? fmt::format("{} now belongs to '{}'", path, *found)
                      : fmt::format("{} was disconnected", path));
}

std::optional<std::uint64_t> kernel_device_size(std::uint32_t index, const system_root& root) {
  const auto text = root.read(fmt::format("/sys/block/{}/size", kernel_device_name(index)));
  if (!text) return std::nullopt;
  const auto sectors = parse_unsigned(*text, "size", 0, ~std::uint64_t{0} / sysfs_sector);
  if (!sectors) return std::nullopt;
  return *sectors * sysfs_sector;
}

std::optional<bool> kernel_device_is_read_only(std::uint32_t index, const system_root& root) {
  const auto text = root.read(fmt::format("/sys/block/{}/ro", kernel_device_name(index)));
  if (!text) return std::nullopt;
  return text->starts_with('1');
}

void enlarge_link_buffer(int socket) {
  constexpr int room = 1 << 20;
  if (::setsockopt(socket, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room) != 0 &&
      ::setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &room, sizeof room) != 0)
    throw_errno("enlarge the buffer of a socket");
}

void limit_kernel_requests(std::uint32_t index, std::chrono::milliseconds limit,
                           const system_root& root) {
  const auto path = fmt::format("/sys/block/{}/queue/io_timeout", kernel_device_name(index));
  std::ofstream file(root.path(path));
  if (!(file << limit.count()).flush()) throw_errno("cannot write " + path);
}

void prepare_kernel_queue(std::uint32_t index, std::uint32_t kilobytes, const system_root& root) {
  const auto queue = fmt::format("/sys/block/{}/queue/", kernel_device_name(index));
  const auto most = root.read(queue + "max_hw_sectors_kb");
  const auto supported = most ? parse_whole<std::uint32_t>(*most) : std::nullopt;
  const auto write = [&](const char* name, const std::string& value) {
    std::ofstream file(root.path(queue + name));
    if (!(file << value).flush()) throw_errno(fmt::format("cannot write {}{}", queue, name));
  };
  write("max_sectors_kb", fmt::format("{}", std::min(kilobytes, supported.value_or(kilobytes))));
  write("scheduler", "none");
}

device_opening::device_opening(const std::string& path, purpose intent) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw_errno(fmt::format("open {}", path));
  outcome_.reset(ends[0]);
  const unique_fd report(ends[1]);
  child_ = ::fork();
  if (child_ < 0) throw_errno(fmt::format("open {} in a child process", path));
  if (child_ == 0) run_child(path.c_str(), intent, report.get());
}

device_opening::~device_opening() {
  if (child_ > 0) ::waitpid(child_, nullptr, WNOHANG);
}

int device_opening::outcome() {
  int out = EIO;
  while (::read(outcome_.get(), &out, sizeof out) < 0 && errno == EINTR) {
  }
  if (child_ > 0) ::waitpid(child_, nullptr, 0);
  child_ = -1;
  return out;
}

}  // namespace xenpv::nbd
