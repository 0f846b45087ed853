#include "xenpv/blkfront/kernel_driver.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "xenpv/base/error.hpp"

namespace xenpv::blkfront {
namespace {

namespace fs = std::filesystem;

/// Whether `node` is the disk's device or one of its partitions: "/dev/xvdb", "/dev/xvdb1".
bool belongs_to(std::string_view node, std::string_view name) {
  const auto disk = fmt::format("/dev/{}", name);
  if (!node.starts_with(disk)) return false;
  const auto rest = node.substr(disk.size());
  return std::all_of(rest.begin(), rest.end(), [](char c) { return c >= '0' && c <= '9'; });
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

void add_table(std::vector<std::string>& out, const system_root& root, const char* table,
               std::string_view name, bool is_swap) {
  std::istringstream lines(root.read(table).value_or(""));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string node;
    std::string place;
    words >> node >> place;
    if (!belongs_to(node, name)) continue;
    out.push_back(is_swap ? fmt::format("used as swap ({})", node)
                          : fmt::format("mounted on {} ({})", unescaped(place), node));
  }
}

/// dm, md and the like show themselves as holders of the disk or of a partition.
void add_holders(std::vector<std::string>& out, const system_root& root, const std::string& name) {
  const auto disk = root.path("/sys/block/" + name);
  std::error_code ignored;
  std::vector<fs::path> places = {disk};
  for (const auto& entry : fs::directory_iterator(disk, ignored))
    if (entry.path().filename().string().starts_with(name)) places.push_back(entry.path());
  for (const auto& place : places)
    for (const auto& holder : fs::directory_iterator(place / "holders", ignored))
      out.push_back(fmt::format("part of {}", holder.path().filename().string()));
}

void add_processes(std::vector<std::string>& out, const system_root& root, std::string_view name) {
  std::error_code ignored;
  for (const auto& process : fs::directory_iterator(root.path("/proc"), ignored)) {
    const auto pid = process.path().filename().string();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    for (const auto& open : fs::directory_iterator(process.path() / "fd", ignored)) {
      const auto target = fs::read_symlink(open.path(), ignored).string();
      if (!belongs_to(target, name)) continue;
      const auto program = root.read(fmt::format("/proc/{}/comm", pid)).value_or("?");
      out.push_back(fmt::format("open in process {} ({})", pid, program));
      break;
    }
  }
}

}  // namespace

std::vector<std::string> users_of(const listed_device& device, const system_root& root) {
  std::vector<std::string> out;
  add_table(out, root, "/proc/mounts", device.name, false);
  add_table(out, root, "/proc/swaps", device.name, true);
  add_holders(out, root, device.name);
  add_processes(out, root, device.name);
  return out;
}

void take_from_kernel(const listed_device& device, const system_root& root) {
  const auto what = fmt::format("take {} from the kernel", device.name);
  const auto users = users_of(device, root);
  if (!users.empty())
    throw failure(std::make_error_code(std::errc::device_or_resource_busy), what,
                  fmt::format("it is {}", fmt::join(users, "; ")));
  const auto path = root.path("/sys/bus/xen/drivers/vbd/unbind");
  std::ofstream file(path);
  file << fmt::format("vbd-{}", device.number);
  if (!file.flush()) throw_errno(fmt::format("{}: write {}", what, path.string()), "are you root?");
}

}  // namespace xenpv::blkfront
