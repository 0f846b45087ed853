// The block backend of a simulated host: a process of domain 0 that serves the disks of all other
// domains. It uses lib/blkback but not the internals of the simulator, and exits when its host
// exits.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "sim/disk_spec.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::sim_app {

/// First argument that makes this program run as a block backend. Internal, not a user command.
inline constexpr std::string_view serve_disks_argument = "serve-disks";

/// Parses like sim::parse_disk_spec(), then applies the backend's own checks: the faults must be
/// valid, and this kind of backend must support the requested features. The checks do not apply to
/// the disk of an external backend.
[[nodiscard]] result<sim::disk_spec> parse_served_disk(std::string_view text);

enum class log_mode {
  verbose,  ///< logs to stderr throughout
  silent,   ///< logs to stderr only until the backend is ready, as a daemon does
};

/// Starts the backend as a child process and returns its pid once the backend has announced every
/// existing disk. Forks, so call it before any thread starts. Throws `failure` if the backend fails
/// to start; the backend has then logged the reason to stderr.
[[nodiscard]] pid_t start_block_backend(const std::filesystem::path& host_directory, log_mode mode);
/// Starts the backend if one of the disks needs it, checks that it can serve them all, and waits
/// until the external backends, which the host has started, have announced their disks. Returns the
/// backend's pid, or nullopt if no disk needs it. Throws `failure` like start_block_backend() and
/// sim::await_backends().
[[nodiscard]] std::optional<pid_t> start_backends(const std::filesystem::path& host_directory,
                                                  std::span<const sim::disk_spec> disks,
                                                  log_mode mode);
/// Kills the backend and reaps it.
void end_block_backend(pid_t process) noexcept;

/// Runs the backend process: "xenpv-sim serve-disks HOST_DIR READY_DESCRIPTOR MODE". Returns its
/// exit status.
[[nodiscard]] int serve_disks(const char* host_directory, const char* ready_descriptor,
                              std::string_view mode);

}  // namespace xenpv::sim_app
