// The block backend of a simulated host: a process of domain 0 that serves the disks of all others,
// with lib/blkback and nothing of the simulator's own. It ends with its host.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <string_view>

#include "sim/disk_spec.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::sim_app {

/// The word by which this program is told to be a block backend. Not a command: nobody types it.
inline constexpr std::string_view serve_disks_word = "serve-disks";

/// sim::parse_disk_spec, and what only the backend knows: whether it has such faults, and whether
/// that kind of backend has what is asked of it.
[[nodiscard]] result<sim::disk_spec> parse_served_disk(std::string_view text);

enum class manner {
  talkative,  ///< on this process's standard error, for good
  silent,     ///< only until it is ready: a daemon's
};

/// Starts the backend as a child and returns its process when it has announced every disk that is
/// there. Forks: call it before any thread. Throws `failure` when it does not come that far, having
/// said why on standard error.
[[nodiscard]] pid_t start_block_backend(const std::filesystem::path& host_directory, manner how);
/// Ends it at once.
void end_block_backend(pid_t process) noexcept;

/// What the started process does: "xenpv-sim serve-disks HOST_DIR READY_DESCRIPTOR MANNER". Returns
/// its exit status.
[[nodiscard]] int serve_disks(const char* host_directory, const char* ready_descriptor,
                              std::string_view how);

}  // namespace xenpv::sim_app
