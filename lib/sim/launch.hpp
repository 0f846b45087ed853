// The environment of programs in a simulated domain. It makes unmodified programs load
// libxensim.so, which provides the device files of the domain, and lets libxenstore connect to the
// domain's xenstored instead of the real one. Does not start processes.
#pragma once

#include <filesystem>
#include <map>
#include <string>

namespace xenpv::sim {

/// Returns the environment variables for a process of the domain in `domain_directory`: LD_PRELOAD
/// (prepended to the current value), XENSTORED_PATH, XENPV_SIM_DIR, XENPV_ROOT.
[[nodiscard]] std::map<std::string, std::string> domain_environment(
    const std::filesystem::path& domain_directory);

/// Returns the path of libxensim.so: XENPV_SIM_LIBRARY if set, otherwise a file next to this
/// program or in the installation directory. Throws a `failure` that lists the paths tried.
[[nodiscard]] std::filesystem::path find_simulator_library();

}  // namespace xenpv::sim
