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
  if (const auto path = variable("XENPV_SIM_LIBRARY"); !path.empty()) return path;
  std::error_code ignored;
  const auto program_directory =
      std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
  const std::vector<std::filesystem::path> candidates = {
      program_directory / name, XENPV_INSTALLED_SIMULATOR,
      program_directory / ".." / XENPV_LIBRARY_DIRECTORY / "xenpv" / name};
  for (const auto& candidate : candidates)
    if (std::filesystem::exists(candidate, ignored)) return std::filesystem::canonical(candidate);
  throw failure(errc::not_available,
                fmt::format("find {} in {}, {} and {}", name, candidates[0].string(),
                            candidates[1].string(), candidates[2].string()),
                "set XENPV_SIM_LIBRARY to its path");
}

std::map<std::string, std::string> domain_environment(
    const std::filesystem::path& domain_directory) {
  auto preload = find_simulator_library().string();
  if (const auto existing = variable("LD_PRELOAD"); !existing.empty()) preload += ":" + existing;
  std::map<std::string, std::string> out = {
      {"LD_PRELOAD", preload},
      {"XENSTORED_PATH", domain_directory / "xenstored"},
      {"XENPV_SIM_DIR", domain_directory},
      {"XENPV_ROOT", domain_directory / "root"},
  };
#if defined(__SANITIZE_ADDRESS__)
  // By default, the AddressSanitizer runtime must be loaded first, but libxensim.so precedes it.
  // Disable that check: the functions that libxensim.so interposes call the runtime's versions.
  out["ASAN_OPTIONS"] = variable("ASAN_OPTIONS") + ":verify_asan_link_order=0";
#endif
  return out;
}

}  // namespace xenpv::sim
