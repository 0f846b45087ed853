#include "nbd/kernel_device.hpp"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <fstream>
#include <limits>

#include "base/numbered_device.hpp"
#include "base/parse.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::nbd {
namespace {

constexpr std::uint64_t sysfs_sector = 512;  // regardless of the device's sector size

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

}  // namespace xenpv::nbd
