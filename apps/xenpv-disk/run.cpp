#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/signal_set.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <sstream>

#include "async/nursery.hpp"
#include "claim.hpp"
#include "commands.hpp"
#include "copy_progress.hpp"
#include "service.hpp"
#include "xenpv/async/deadline.hpp"
#include "xenpv/async/shield.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/nbd/listen.hpp"

extern char** environ;

namespace xenpv::disk_app {
namespace {

/// Time limit for the command to exit after SIGTERM when the disk can no longer be served.
constexpr std::chrono::seconds grace(5);

struct run_options {
  disk_options disk;
  std::vector<std::string> command;
};

/// A private directory for the socket. The destructor removes the directory.
class private_directory {
 public:
  private_directory() : path_(fmt::format("{}/run-XXXXXX", runtime_directory())) {
    if (::mkdtemp(path_.data()) == nullptr) throw_errno("create a directory like " + path_);
  }
  ~private_directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  private_directory(const private_directory&) = delete;
  private_directory& operator=(const private_directory&) = delete;
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
};

pid_t start(const std::vector<std::string>& command) {
  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (const auto& argument : command)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  // This program ignores SIGPIPE; the command starts with the default action.
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t defaults;
  ::sigemptyset(&defaults);
  ::sigaddset(&defaults, SIGPIPE);
  ::posix_spawnattr_setsigdefault(&attributes, &defaults);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  pid_t child = -1;
  const int code =
      ::posix_spawnp(&child, arguments[0], nullptr, &attributes, arguments.data(), environ);
  ::posix_spawnattr_destroy(&attributes);
  if (code != 0) throw_errno(code, fmt::format("run {}", command.front()));
  return child;
}

/// A child process that a coroutine can wait for. Uses SIGCHLD because some guest kernels lack
/// pidfd_open(2).
class child_process {
 public:
  child_process(const asio::any_io_executor& executor, const std::vector<std::string>& command)
      : ended_(executor, SIGCHLD), pid_(start(command)) {}

  /// Waits until the process exits; returns its status as defined by waitpid(2).
  asio::awaitable<int> wait() {
    int status = 0;
    while (::waitpid(pid_, &status, WNOHANG) == 0)
      co_await ended_.async_wait(asio::use_awaitable);
    co_return status;
  }
  void kill(int signal) const { ::kill(pid_, signal); }

 private:
  asio::signal_set ended_;  ///< constructed before the process starts so that SIGCHLD is caught
  pid_t pid_;
};

/// Terminates a command that has lost its disk: sends SIGTERM and, after a time limit, SIGKILL.
asio::awaitable<int> stop_command(child_process& child, std::string_view name) {
  child.kill(SIGTERM);
  try {
    co_return co_await async::with_deadline(child.wait(), grace, "wait for the command");
  } catch (const failure& problem) {
    if (problem.code() != errc::timed_out) throw;
  }
  log().warn("{} did not exit after SIGTERM; killing it", name);
  child.kill(SIGKILL);
  co_return co_await child.wait();
}

/// Runs the command until it exits. Sets `status` as a shell does: the exit status, 128 plus the
/// signal, or 126 or 127 for a command that cannot be run.
asio::awaitable<void> run_command(served_disk& disk, const std::vector<std::string>& command,
                                  int& status) {
  std::optional<child_process> child;
  try {
    child.emplace(disk.runtime.control(), command);
  } catch (const failure& problem) {
    log().error("{}", problem.what());
    status = problem.code() == std::errc::no_such_file_or_directory ? 127 : 126;
    co_return;
  }
  std::optional<int> raw_status;
  try {
    raw_status = co_await child->wait();
  } catch (const boost::system::system_error&) {
    // Cancelled: the service is stopping, or the disk was lost and the command cannot continue.
  }
  if (!raw_status) {
    co_await asio::this_coro::reset_cancellation_state();
    raw_status = co_await stop_command(*child, command.front());
  }
  status = WIFEXITED(*raw_status) ? WEXITSTATUS(*raw_status) : 128 + WTERMSIG(*raw_status);
}

asio::awaitable<void> run_with_progress(served_disk& disk, const std::vector<std::string>& command,
                                        int& status) {
  async::nursery tasks(disk.runtime.control());
  tasks.spawn(show_copy_progress(disk));
  auto clean_up = [&] {
    tasks.cancel();
    return tasks.join();
  };
  co_await async::finally(run_command(disk, command, status), clean_up);
}

/// Returns 0 if posix_spawnp(3) would find and run the program, otherwise the errno of its failure.
int spawn_problem(const std::string& program) {
  std::vector<std::string> paths;
  if (program.find('/') != std::string::npos) {
    paths.push_back(program);
  } else {
    const char* const value = ::getenv("PATH");
    std::istringstream folders(value != nullptr ? value : "/bin:/usr/bin");
    for (std::string folder; std::getline(folders, folder, ':');)
      paths.push_back((folder.empty() ? "." : folder) + "/" + program);
  }
  int problem = ENOENT;
  for (const auto& path : paths) {
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) continue;
    if (!std::filesystem::is_directory(path, ignored) && ::access(path.c_str(), X_OK) == 0)
      return 0;
    problem = EACCES;
  }
  return problem;
}

/// Returns the exit status that a shell uses for the error.
int status_of_problem(int problem) {
  return problem == ENOENT ? 127 : 126;
}

/// The socket through which the command accesses the disk.
struct private_endpoint {
  private_directory directory;
  endpoints sockets;
};

asio::awaitable<void> serve_while(private_endpoint& ready, const std::vector<std::string>& command,
                                  served_disk& disk, int& status) {
  const auto& path = ready.sockets.unix_paths.front();
  ::setenv("unixsocket", path.c_str(), 1);
  const auto uri =
      fmt::format("nbd+unix:///{}?socket={}", uri_part(disk.export_name), uri_part(path));
  ::setenv("uri", uri.c_str(), 1);
  service_work work;
  work.task = [&] { return run_with_progress(disk, command, status); };
  co_await serve_until_stopped(disk, std::move(ready.sockets), std::move(work));
}

disk_service prepare(const run_options& options, int& status) {
  if (const int problem = spawn_problem(options.command.front()); problem != 0) {
    log().error("run {}: {}", options.command.front(), describe_errno(problem));
    status = status_of_problem(problem);
    return {};
  }
  auto ready = std::make_shared<private_endpoint>();
  const auto path = ready->directory.path() + "/nbd.sock";
  ready->sockets.listeners.push_back(nbd::listen_unix(path));
  ready->sockets.unix_paths.push_back(path);
  return [ready = std::move(ready), &options, &status](served_disk& disk) {
    return serve_while(*ready, options.command, disk, status);
  };
}

cli::exit_code run(const run_options& options) {
  int status = 1;
  with_served_disk(options.disk, {}, [&](const claimed_disk&) { return prepare(options, status); });
  return static_cast<cli::exit_code>(status);
}

}  // namespace

void add_run(cli::app& app) {
  static run_options options;
  auto& command = app.add_command("run", "serve a disk while a command runs");
  command
      .describe(
          "Serves the disk on a private socket while CMD runs, and exits with CMD's status. The "
          "environment of CMD contains the address: uri, and unixsocket with only the path.")
      .example("copy a disk into an image", "xenpv-disk run xvdb -- sh -c 'nbdcopy $uri disk.img'");
  add_disk_options(command, options.disk);
  add_client_options(command, options.disk);
  command.takes_command(options.command).action([](std::ostream&) { return run(options); });
}

}  // namespace xenpv::disk_app
