#include "base/block_device_users.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <linux/capability.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <ios>
#include <sstream>

#include "base/open_files.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/// True if `node` is the device node of disk `name` or of one of its partitions ("/dev/xvdb1",
/// "/dev/nbd0p1").
bool belongs_to(std::string_view node, std::string_view name) {
  const auto disk = fmt::format("/dev/{}", name);
  if (!node.starts_with(disk)) return false;
  auto rest = node.substr(disk.size());
  if (rest.empty()) return true;
  // After a name that ends in a digit, the kernel puts a 'p' before the partition number:
  // /dev/nbd10 is not a partition of nbd1.
  if (!name.empty() && is_digit(name.back())) {
    if (rest.front() != 'p') return false;
    rest.remove_prefix(1);
  }
  return !rest.empty() && std::all_of(rest.begin(), rest.end(), is_digit);
}

/// Decodes the kernel's octal escapes in paths, such as \040 for a space.
std::string unescaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                               (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

/// Returns the sysfs directories of the disk and its partitions.
std::vector<std::string> sysfs_directories(const system_root& root, const std::string& name) {
  const auto disk = "/sys/block/" + name;
  std::vector<std::string> out = {disk};
  for (const auto& entry : root.names(disk))
    if (entry.starts_with(name)) out.push_back(fmt::format("{}/{}", disk, entry));
  return out;
}

/// Returns the device numbers ("202:16") of the disk and its partitions.
std::vector<std::string> device_numbers(const system_root& root, const std::string& name) {
  std::vector<std::string> out;
  for (const auto& directory : sysfs_directories(root, name))
    if (const auto number = root.read(directory + "/dev")) out.push_back(*number);
  return out;
}

/// Compares both the device number and the source: the source may be /dev/root or a udev link, and
/// the device number of a btrfs mount is not the disk's.
void add_mounts(std::vector<std::string>& out, const system_root& root, const std::string& name) {
  const auto numbers = device_numbers(root, name);
  std::istringstream lines(root.read("/proc/self/mountinfo").value_or(""));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string ignored;
    std::string number;
    std::string mount_point;
    std::string source;
    fields >> ignored >> ignored >> number >> ignored >> mount_point;
    // "- TYPE SOURCE" follows a varying number of fields.
    while (fields >> ignored && ignored != "-") {
    }
    fields >> ignored >> source;
    if (std::ranges::count(numbers, number) > 0 || belongs_to(source, name))
      out.push_back(fmt::format("mounted on {} ({})", unescaped(mount_point), source));
  }
}

void add_swaps(std::vector<std::string>& out, const system_root& root, std::string_view name) {
  std::istringstream lines(root.read("/proc/swaps").value_or(""));
  for (std::string line; std::getline(lines, line);) {
    const auto node = line.substr(0, line.find_first_of(" \t"));
    if (belongs_to(node, name)) out.push_back(fmt::format("used as swap ({})", node));
  }
}

std::string claimed_by_others(const std::filesystem::path& node) {
  return fmt::format("claimed ({}), possibly mounted in another namespace", node.string());
}

/// Detects users that are not visible in this namespace, such as a mount in another namespace or an
/// in-kernel driver.
void add_claim(std::vector<std::string>& out, const system_root& root, std::string_view name) {
  const auto node = root.path(fmt::format("/dev/{}", name));
  struct stat status {};
  if (::stat(node.c_str(), &status) != 0 || !S_ISBLK(status.st_mode)) return;
  const unique_fd free(::open(node.c_str(), O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC));
  if (!free && errno == EBUSY) out.push_back(claimed_by_others(node));
}

/// A loop device does not open its backing device exclusively, does not appear in any process and
/// is not listed as a holder. A backing file in a file system on the disk is already covered by the
/// mount.
void add_loops(std::vector<std::string>& out, const system_root& root, const std::string& name) {
  const auto numbers = device_numbers(root, name);
  const auto is_disk_under_another_name = [&](const std::string& path) {
    struct stat status {};
    return ::stat(root.path(path).c_str(), &status) == 0 && S_ISBLK(status.st_mode) &&
           std::ranges::count(
               numbers, fmt::format("{}:{}", major(status.st_rdev), minor(status.st_rdev))) > 0;
  };
  for (const auto& device : root.names("/sys/block")) {
    if (!device.starts_with("loop")) continue;
    const auto backing = root.read(fmt::format("/sys/block/{}/loop/backing_file", device));
    if (!backing) continue;
    auto path = *backing;
    constexpr std::string_view unlinked = " (deleted)";
    if (path.ends_with(unlinked)) path.resize(path.size() - unlinked.size());
    if (belongs_to(path, name) || is_disk_under_another_name(path))
      out.push_back(fmt::format("used by {} ({})", device, path));
  }
}

/// dm, md and similar drivers appear as holders of the disk or a partition.
void add_holders(std::vector<std::string>& out, const system_root& root, const std::string& name) {
  for (const auto& directory : sysfs_directories(root, name))
    for (const auto& holder : root.names(directory + "/holders"))
      out.push_back(fmt::format("part of {}", holder));
}

/// Skips the process `ignored`; 0 skips none.
void add_processes(std::vector<std::string>& out, const system_root& root, std::string_view name,
                   pid_t ignored = 0) {
  const auto is_device = [name](const std::string& path) { return belongs_to(path, name); };
  for (const auto process : processes_with_open(root, is_device)) {
    if (process == static_cast<unsigned>(ignored)) continue;
    const auto program = root.read(fmt::format("/proc/{}/comm", process)).value_or("?");
    out.push_back(fmt::format("open in process {} ({})", process, program));
  }
}

/// Returns the effective capabilities of this process; nullopt if /proc does not show them.
std::optional<std::uint64_t> effective_capabilities(const system_root& root) {
  std::istringstream lines(root.read("/proc/self/status").value_or(""));
  constexpr std::string_view field = "CapEff:";
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(field)) continue;
    std::istringstream digits(line.substr(field.size()));
    std::uint64_t out = 0;
    if (digits >> std::hex >> out) return out;
  }
  return std::nullopt;
}

/// Returns the holders listed in /proc and /sys.
std::vector<std::string> visible_holders(std::string_view name, const system_root& root) {
  std::vector<std::string> out;
  add_mounts(out, root, std::string(name));
  add_swaps(out, root, name);
  add_holders(out, root, std::string(name));
  add_loops(out, root, std::string(name));
  return out;
}

}  // namespace

std::optional<std::string> xen_block_device(std::string_view xen_device, const system_root& root) {
  const auto names = root.names(fmt::format("/sys/bus/xen/devices/{}/block", xen_device));
  if (names.size() != 1) return std::nullopt;
  return names.front();
}

std::vector<std::string> block_device_holders(std::string_view name, const system_root& root) {
  auto out = visible_holders(name, root);
  if (out.empty()) add_claim(out, root, name);
  return out;
}

std::vector<std::string> block_device_openers(std::string_view name, const system_root& root) {
  std::vector<std::string> out;
  add_processes(out, root, name);
  return out;
}

void require_visible_openers(std::string_view operation, const system_root& root) {
  const auto capabilities = effective_capabilities(root);
  // Another tree has no processes to hide.
  if (!capabilities && !root.is_real()) return;
  const auto has = [held = capabilities.value_or(0)](unsigned capability) {
    return (held >> capability & 1U) != 0;
  };
  const bool may_list = has(CAP_DAC_READ_SEARCH) || has(CAP_DAC_OVERRIDE);
  if (has(CAP_SYS_PTRACE) && may_list) return;
  throw failure(std::make_error_code(std::errc::operation_not_permitted), operation,
                "cannot determine the users of the device without CAP_SYS_PTRACE and "
                "CAP_DAC_READ_SEARCH; are you root?");
}

std::vector<std::string> block_device_users(std::string_view name, const system_root& root) {
  auto out = block_device_holders(name, root);
  add_processes(out, root, name);
  return out;
}

unique_fd claim_block_device(std::string_view operation, std::string_view name,
                             const system_root& root) {
  require_visible_openers(operation, root);
  const auto node = root.path(fmt::format("/dev/{}", name));
  const auto refuse = [&](const std::vector<std::string>& users) {
    throw failure(std::make_error_code(std::errc::device_or_resource_busy), operation,
                  fmt::format("it is {}", fmt::join(users, "; ")));
  };
  unique_fd out(::open(node.c_str(), O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC));
  const int reason = errno;
  auto users = visible_holders(name, root);
  add_processes(users, root, name, ::getpid());
  if (!out && reason == EBUSY && users.empty()) users.push_back(claimed_by_others(node));
  if (!users.empty()) refuse(users);
  if (!out)
    throw_errno(reason, fmt::format("{}: open {}", operation, node.string()),
                "the device must be opened to check whether it is in use");
  struct stat status {};
  const auto number = root.read(fmt::format("/sys/block/{}/dev", name));
  if (::fstat(out.get(), &status) == 0 && S_ISBLK(status.st_mode) && number) {
    const auto opened = fmt::format("{}:{}", major(status.st_rdev), minor(status.st_rdev));
    if (opened != *number)
      throw failure(make_error_code(errc::not_available), operation,
                    fmt::format("{} is device {}, but the disk is device {}", node.string(), opened,
                                *number));
  }
  return out;
}

}  // namespace xenpv
