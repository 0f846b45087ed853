#include "xenpv/base/system_root.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>

#include "xenpv/base/error.hpp"

namespace xenpv {
namespace {

/// Bounds the size of files in a capture, which come from another machine. The files that xenpv
/// reads in a guest are far smaller.
constexpr std::size_t largest_file = 64 << 20;

}  // namespace

system_root system_root::from_environment() {
  const char* top = std::getenv("XENPV_ROOT");
  return system_root(top != nullptr && *top != '\0' ? top : "/");
}

std::filesystem::path system_root::path(std::string_view absolute) const {
  return top_ / std::filesystem::path(absolute).relative_path();
}

bool system_root::exists(std::string_view absolute) const {
  std::error_code ignored;
  return std::filesystem::exists(path(absolute), ignored);
}

std::optional<std::string> system_root::read(std::string_view absolute) const {
  const auto file_path = path(absolute);
  std::ifstream file(file_path, std::ios::binary);
  if (!file) return std::nullopt;
  std::string text;
  std::array<char, 4096> part{};
  // A directory can be opened but not read. read() then sets badbit; an iterator would throw.
  while (file.read(part.data(), part.size()) || file.gcount() > 0) {
    text.append(part.data(), static_cast<std::size_t>(file.gcount()));
    if (!is_real() && text.size() > largest_file)
      throw failure(make_error_code(errc::limit_reached), "read " + file_path.string(),
                    "the file is larger than 64 MiB: shorten it");
  }
  if (file.bad()) return std::nullopt;
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

std::vector<std::string> system_root::names(std::string_view absolute) const {
  std::vector<std::string> out;
  std::error_code gone;
  std::filesystem::directory_iterator entry(path(absolute), gone);
  for (; !gone && entry != std::filesystem::directory_iterator(); entry.increment(gone))
    out.push_back(entry->path().filename().string());
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace xenpv
