// The environment of a program that runs as a process of a simulated domain. The program is
// unmodified: it finds libxensim.so before Xen's libraries, and its domain's xenstored before the
// real one. Starts no process.
#pragma once

#include <filesystem>
#include <map>
#include <string>

namespace xenpv::sim {

/// Environment variables for a process of the domain in `domain_directory`: LD_PRELOAD (in front of
/// its present value), XENSTORED_PATH, XENPV_SIM_DIR, XENPV_ROOT.
[[nodiscard]] std::map<std::string, std::string> domain_environment(
    const std::filesystem::path& domain_directory);

/// Path of libxensim.so: XENPV_SIM_LIBRARY, beside this program, or where it was installed. Throws
/// `failure` with the paths tried.
[[nodiscard]] std::filesystem::path find_simulator_library();

}  // namespace xenpv::sim
