// A command run as a child process that a coroutine can wait for. The child does not outlive this
// process and does not inherit its special settings. Used on the control thread.
#pragma once

#include <sys/types.h>

#include <boost/asio/signal_set.hpp>
#include <string>
#include <vector>

#include "xenpv/async/asio.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::disk_app {

/// Returns the path of the program, searching PATH as execvp(3) does, or the error of a shell that
/// fails to find or execute it.
[[nodiscard]] result<std::string> find_program(const std::string& name);

/// Uses SIGCHLD because some guest kernels lack pidfd_open(2).
class child_process {
 public:
  /// Starts `command` with the default signal actions (an ignored SIGHUP stays ignored) and without
  /// the settings of memory_lock.hpp. Throws `failure` if it cannot be executed. The child receives
  /// SIGTERM when the calling thread ends, even if this process is killed, so the calling thread
  /// must be one that lives as long as the process.
  child_process(const asio::any_io_executor& executor, const std::vector<std::string>& command);

  /// Waits until the process exits; returns its status as defined by waitpid(2).
  [[nodiscard]] asio::awaitable<int> wait();
  void kill(int signal) const noexcept;

 private:
  asio::signal_set ended_;  ///< constructed before the process starts so that SIGCHLD is caught
  pid_t pid_;
};

}  // namespace xenpv::disk_app
