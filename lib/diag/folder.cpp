#include "diag/folder.hpp"

#include <algorithm>
#include <filesystem>

namespace xenpv::diag {

std::vector<std::string> names_in(const system_root& root, std::string_view folder) {
  std::vector<std::string> out;
  std::error_code code;
  std::filesystem::directory_iterator entry(root.path(folder), code);
  for (; !code && entry != std::filesystem::directory_iterator(); entry.increment(code))
    out.push_back(entry->path().filename().string());
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace xenpv::diag
