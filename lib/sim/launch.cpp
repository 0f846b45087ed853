#include "sim/launch.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <vector>

#include "xenpv/base/error.hpp"

namespace xenpv::sim {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

std::filesystem::path find_simulator_library() {
  constexpr auto name = "libxensim.so";
  if (const auto named = variable("XENPV_SIM_LIBRARY"); !named.empty()) return named;
  std::error_code ignored;
  const auto here = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
  const std::vector<std::filesystem::path> places = {
      here / name, XENPV_INSTALLED_SIMULATOR,
      here / ".." / XENPV_LIBRARY_DIRECTORY / "xenpv" / name};
  for (const auto& place : places)
    if (std::filesystem::exists(place, ignored)) return std::filesystem::canonical(place);
  throw failure(errc::not_available,
                fmt::format("find {} in {}, {} and {}", name, places[0].string(),
                            places[1].string(), places[2].string()),
                "set XENPV_SIM_LIBRARY to its path");
}

std::map<std::string, std::string> domain_environment(
    const std::filesystem::path& domain_directory) {
  auto preload = find_simulator_library().string();
  if (const auto before = variable("LD_PRELOAD"); !before.empty()) preload += ":" + before;
  std::map<std::string, std::string> out = {
      {"LD_PRELOAD", preload},
      {"XENSTORED_PATH", domain_directory / "xenstored"},
      {"XENPV_SIM_DIR", domain_directory},
      {"XENPV_ROOT", domain_directory / "root"},
  };
#if defined(__SANITIZE_ADDRESS__)
  // A program built like this one wants its runtime first in the list, where libxensim.so now is.
  // It interposes nothing of the runtime's, so the order does not matter.
  out["ASAN_OPTIONS"] = variable("ASAN_OPTIONS") + ":verify_asan_link_order=0";
#endif
  return out;
}

}  // namespace xenpv::sim
