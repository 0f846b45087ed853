// Starting a program as a process of a simulated domain: its environment, and nothing else. The
// program itself is not changed; it finds libxensim.so before Xen's libraries and its domain's
// xenstored before the real one.
#pragma once

#include <filesystem>
#include <map>
#include <string>

namespace xenpv::sim {

/// Variables for a process of the domain whose folder this is: LD_PRELOAD (in front of what is
/// there already), XENSTORED_PATH, XENPV_SIM_DIR, XENPV_ROOT.
[[nodiscard]] std::map<std::string, std::string> domain_environment(
    const std::filesystem::path& domain_directory);

/// libxensim.so: XENPV_SIM_LIBRARY, beside this program, or where it was installed. Throws
/// `failure` naming the places looked at.
[[nodiscard]] std::filesystem::path find_simulator_library();

}  // namespace xenpv::sim
