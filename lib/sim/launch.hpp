// The environment of a program that runs as a process of a simulated domain. The program is
// unmodified: it loads libxensim.so before Xen's libraries, and connects to its domain's xenstored
// instead of the real one. Starts no process.
#pragma once

#include <filesystem>
#include <map>
#include <string>

namespace xenpv::sim {

/// Environment variables for a process of the domain in `domain_directory`: LD_PRELOAD (prepended
/// to its current value), XENSTORED_PATH, XENPV_SIM_DIR, XENPV_ROOT.
[[nodiscard]] std::map<std::string, std::string> domain_environment(
    const std::filesystem::path& domain_directory);

/// Returns the path of libxensim.so: XENPV_SIM_LIBRARY if set, otherwise next to this program or in
/// the installation directory. Throws a `failure` that lists the paths tried.
[[nodiscard]] std::filesystem::path find_simulator_library();

}  // namespace xenpv::sim
