// Intercepts the system calls of a command and its descendants, so that programs that do not load
// libxensim.so can use the simulated devices, too: statically linked programs, such as those of Go.
// The supervisor is a process between the caller and the command. It serves until the last
// descendant of the command has exited, and answers one system call at a time.
//
// Not a security boundary: a process can evade the interception, for example with io_uring.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>

#include "xenpv/base/unique_fd.hpp"

namespace xenpv::sim::intercept {

class supervised_command {
 public:
  /// Starts a supervisor and the command. `execute` runs in a new process, and replaces it with the
  /// command of the domain in `domain_directory`. Throws `failure` (errc::not_available) if the
  /// kernel does not support the interception. Forks, so call it before creating threads.
  [[nodiscard]] static supervised_command start(const std::filesystem::path& domain_directory,
                                                const std::function<void()>& execute);

  /// The command, which is not a child of this process.
  [[nodiscard]] pid_t process() const noexcept { return process_; }
  /// Waits until the command ends. Returns its status as from waitpid(2). Throws `failure` if the
  /// supervisor was killed.
  [[nodiscard]] int wait() const;

 private:
  supervised_command(pid_t process, unique_fd report) noexcept;

  pid_t process_;
  unique_fd report_;
};

}  // namespace xenpv::sim::intercept
