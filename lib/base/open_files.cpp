#include "base/open_files.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/parse.hpp"

namespace xenpv {

std::vector<unsigned> processes_with_open(
    const system_root& root, const std::function<bool(const std::string& path)>& matches) {
  const auto has_open = [&](const std::string& process) {
    const auto folder = fmt::format("/proc/{}/fd", process);
    const auto files = root.names(folder);
    return std::any_of(files.begin(), files.end(), [&](const std::string& file) {
      std::error_code gone;
      return matches(
          std::filesystem::read_symlink(root.path(fmt::format("{}/{}", folder, file)), gone)
              .string());
    });
  };
  std::vector<unsigned> out;
  for (const auto& name : root.names("/proc"))
    if (const auto pid = parse_whole<unsigned>(name); pid && has_open(name)) out.push_back(*pid);
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace xenpv
