// A process of domain 0 that serves disks: an external backend (backend_program.hpp). Runs in its
// own process group, so that the group can be killed as a whole. Used only on the host thread.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace xenpv::sim {

class backend_process {
 public:
  /// Starts `arguments` with the additional variables in `environment`. stdin is /dev/null; stdout
  /// and stderr are appended to the file `log`. The process is killed when the calling process
  /// dies. If the program cannot be executed, the process writes the reason to the log and exits
  /// with 127. Throws `failure` if the log cannot be opened or the process cannot be created.
  backend_process(const std::vector<std::string>& arguments,
                  const std::map<std::string, std::string>& environment,
                  const std::filesystem::path& log);
  /// Kills the process group and waits until its leader has ended.
  ~backend_process();
  backend_process(const backend_process&) = delete;
  backend_process& operator=(const backend_process&) = delete;

  [[nodiscard]] pid_t process() const noexcept { return process_; }
  /// Sends SIGKILL to the process group, but does not wait.
  void kill() noexcept;
  /// Returns the wait status (waitpid(2)) once the leader of the group has ended; nullopt before.
  /// Kills the other processes of the group: a backend ends with its leader.
  [[nodiscard]] std::optional<int> status() noexcept;

 private:
  pid_t process_ = -1;
  std::optional<int> status_;
};

/// Describes a wait status: "exit status 1" or "signal 9".
[[nodiscard]] std::string describe_status(int status);

}  // namespace xenpv::sim
