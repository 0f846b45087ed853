#include "xenpv/base/block_device_users.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <sstream>

#include "xenpv/base/open_files.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/// Whether `node` is the disk's device or one of its partitions: "/dev/xvdb1", "/dev/nbd0p1".
bool belongs_to(std::string_view node, std::string_view name) {
  const auto disk = fmt::format("/dev/{}", name);
  if (!node.starts_with(disk)) return false;
  auto rest = node.substr(disk.size());
  if (rest.empty()) return true;
  // The kernel puts a 'p' between a digit and a partition's number: /dev/nbd10 is no part of nbd1.
  if (!name.empty() && is_digit(name.back())) {
    if (rest.front() != 'p') return false;
    rest.remove_prefix(1);
  }
  return !rest.empty() && std::all_of(rest.begin(), rest.end(), is_digit);
}

/// The kernel writes blanks in paths as \040.
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

/// Directories of sysfs: the disk's and those of its partitions.
std::vector<std::string> places_of(const system_root& root, const std::string& name) {
  const auto disk = "/sys/block/" + name;
  std::vector<std::string> out = {disk};
  for (const auto& part : root.names(disk))
    if (part.starts_with(name)) out.push_back(fmt::format("{}/{}", disk, part));
  return out;
}

/// By its number, too: the source may be /dev/root or a link of udev's, and on btrfs the number is
/// none of the disk's.
void add_mounts(std::vector<std::string>& out, const system_root& root, const std::string& name) {
  std::vector<std::string> numbers;
  for (const auto& place : places_of(root, name))
    if (const auto number = root.read(place + "/dev")) numbers.push_back(*number);
  std::istringstream lines(root.read("/proc/self/mountinfo").value_or(""));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string ignored;
    std::string number;
    std::string place;
    std::string source;
    words >> ignored >> ignored >> number >> ignored >> place;
    // Behind a varying number of fields: "- TYPE SOURCE".
    while (words >> ignored && ignored != "-") {
    }
    words >> ignored >> source;
    if (std::ranges::count(numbers, number) > 0 || belongs_to(source, name))
      out.push_back(fmt::format("mounted on {} ({})", unescaped(place), source));
  }
}

void add_swaps(std::vector<std::string>& out, const system_root& root, std::string_view name) {
  std::istringstream lines(root.read("/proc/swaps").value_or(""));
  for (std::string line; std::getline(lines, line);) {
    const auto node = line.substr(0, line.find_first_of(" \t"));
    if (belongs_to(node, name)) out.push_back(fmt::format("used as swap ({})", node));
  }
}

/// What the kernel knows and shows nobody here: a mount in another namespace, a driver of its own.
void add_claim(std::vector<std::string>& out, const system_root& root, std::string_view name) {
  const auto node = root.path(fmt::format("/dev/{}", name));
  struct stat found {};
  if (::stat(node.c_str(), &found) != 0 || !S_ISBLK(found.st_mode)) return;
  const unique_fd free(::open(node.c_str(), O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC));
  if (!free && errno == EBUSY)
    out.push_back(fmt::format("claimed ({}), perhaps mounted in another namespace", node.string()));
}

/// dm, md and the like show themselves as holders of the disk or of a partition.
void add_holders(std::vector<std::string>& out, const system_root& root, const std::string& name) {
  for (const auto& place : places_of(root, name))
    for (const auto& holder : root.names(place + "/holders"))
      out.push_back(fmt::format("part of {}", holder));
}

void add_processes(std::vector<std::string>& out, const system_root& root, std::string_view name) {
  const auto is_ours = [name](const std::string& path) { return belongs_to(path, name); };
  for (const auto process : processes_with_open(root, is_ours)) {
    const auto program = root.read(fmt::format("/proc/{}/comm", process)).value_or("?");
    out.push_back(fmt::format("open in process {} ({})", process, program));
  }
}

}  // namespace

std::vector<std::string> block_device_holders(std::string_view name, const system_root& root) {
  std::vector<std::string> out;
  add_mounts(out, root, std::string(name));
  add_swaps(out, root, name);
  add_holders(out, root, std::string(name));
  if (out.empty()) add_claim(out, root, name);
  return out;
}

std::vector<std::string> block_device_openers(std::string_view name, const system_root& root) {
  std::vector<std::string> out;
  add_processes(out, root, name);
  return out;
}

std::vector<std::string> block_device_users(std::string_view name, const system_root& root) {
  auto out = block_device_holders(name, root);
  add_processes(out, root, name);
  return out;
}

}  // namespace xenpv
