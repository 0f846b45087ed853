#include "xenpv/base/block_device_users.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <sstream>

namespace xenpv {
namespace {

namespace fs = std::filesystem;

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

/// What is gone while one looks was not there: a process may end at any time.
template <class Function>
void for_each_entry(const fs::path& directory, Function use) {
  std::error_code gone;
  for (fs::directory_iterator each(directory, gone), end; !gone && each != end;
       each.increment(gone))
    use(each->path());
}

/// dm, md and the like show themselves as holders of the disk or of a partition.
void add_holders(std::vector<std::string>& out, const system_root& root, const std::string& name) {
  const auto disk = root.path("/sys/block/" + name);
  std::vector<fs::path> places = {disk};
  for_each_entry(disk, [&](const fs::path& entry) {
    if (entry.filename().string().starts_with(name)) places.push_back(entry);
  });
  for (const auto& place : places)
    for_each_entry(place / "holders", [&](const fs::path& holder) {
      out.push_back(fmt::format("part of {}", holder.filename().string()));
    });
}

bool has_open(const fs::path& process, std::string_view name) {
  bool found = false;
  for_each_entry(process / "fd", [&](const fs::path& open) {
    std::error_code ignored;
    found = found || belongs_to(fs::read_symlink(open, ignored).string(), name);
  });
  return found;
}

void add_processes(std::vector<std::string>& out, const system_root& root, std::string_view name) {
  for_each_entry(root.path("/proc"), [&](const fs::path& process) {
    const auto pid = process.filename().string();
    if (!std::all_of(pid.begin(), pid.end(), is_digit) || !has_open(process, name)) return;
    const auto program = root.read(fmt::format("/proc/{}/comm", pid)).value_or("?");
    out.push_back(fmt::format("open in process {} ({})", pid, program));
  });
}

}  // namespace

std::vector<std::string> block_device_holders(std::string_view name, const system_root& root) {
  std::vector<std::string> out;
  add_table(out, root, "/proc/mounts", name, false);
  add_table(out, root, "/proc/swaps", name, true);
  add_holders(out, root, std::string(name));
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
