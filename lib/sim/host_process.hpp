// A simulated host in a separate process, and its directory. start() forks, so call it before
// creating threads.
#pragma once

#include <sys/types.h>

#include <filesystem>

#include "sim/host.hpp"

namespace xenpv::sim {

class host_process {
 public:
  /// Starts a host that is killed when this process exits. If options.directory is empty, creates a
  /// directory below TMPDIR, which stop() removes. Returns when the host's sockets are listening.
  /// If the host fails to start, throws `failure` with the host's error message.
  [[nodiscard]] static host_process start(host_options options);
  /// Starts a host that outlives this process, for `xenpv-sim start`.
  static void start_daemon(const host_options& options);

  host_process(host_process&& other) noexcept;
  host_process& operator=(host_process&&) = delete;
  ~host_process();

  [[nodiscard]] const std::filesystem::path& directory() const noexcept { return directory_; }
  [[nodiscard]] pid_t process() const noexcept { return process_; }
  /// Kills the host and removes the directory if start() created it. Idempotent.
  void stop() noexcept;

 private:
  host_process(std::filesystem::path directory, pid_t process, bool made_directory) noexcept;
  std::filesystem::path directory_;
  pid_t process_;
  bool made_directory_;
};

}  // namespace xenpv::sim
