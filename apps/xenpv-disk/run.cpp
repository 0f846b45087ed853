#include <fmt/format.h>
#include <sys/wait.h>

#include <boost/system/system_error.hpp>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <optional>

#include "async/nursery.hpp"
#include "child_process.hpp"
#include "commands.hpp"
#include "copy_progress.hpp"
#include "private_directory.hpp"
#include "service.hpp"
#include "xenpv/async/deadline.hpp"
#include "xenpv/async/shield.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/nbd/listen.hpp"

namespace xenpv::disk_app {
namespace {

/// Time limit for the command to exit after SIGTERM when the disk can no longer be served.
constexpr std::chrono::seconds command_grace(5);

struct run_options {
  server_settings server;
  std::vector<std::string> command;
};

/// Terminates a command: sends `signal` and, after a time limit, SIGKILL.
asio::awaitable<int> stop_command(child_process& child, std::string_view name, int signal) {
  child.kill(signal);
  try {
    co_return co_await async::with_deadline(child.wait(), command_grace, "wait for the command");
  } catch (const failure& problem) {
    if (problem.code() != errc::timed_out) throw;
  }
  log().warn("{} did not exit after signal {}; killing it", name, signal);
  child.kill(SIGKILL);
  co_return co_await child.wait();
}

/// Returns the exit status that a shell uses for the error.
int status_of_problem(const std::error_code& problem) {
  return problem == std::errc::no_such_file_or_directory ? 127 : 126;
}

/// The command and how it ended.
struct command_run {
  const std::vector<std::string>& command;
  /// Set as in a shell: the command's exit status, 128 plus the signal, or 126 or 127 for a command
  /// that cannot be run.
  int& status;
  int stop_signal = SIGTERM;  ///< sent to the command if the disk is lost or a signal arrives
};

/// Runs the command until it exits.
asio::awaitable<void> run_command(disk_server& server, command_run& run) {
  std::optional<child_process> child;
  try {
    child.emplace(server.runtime.control(), run.command);
  } catch (const failure& problem) {
    log().error("{}", problem.what());
    run.status = status_of_problem(problem.code());
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
    raw_status = co_await stop_command(*child, run.command.front(), run.stop_signal);
  }
  run.status = WIFEXITED(*raw_status) ? WEXITSTATUS(*raw_status) : 128 + WTERMSIG(*raw_status);
}

asio::awaitable<void> run_with_progress(disk_server& server, command_run& run) {
  async::nursery tasks(server.runtime.control());
  tasks.spawn(show_copy_progress(server.runtime.control(), server.disks.front()));
  auto clean_up = [&] {
    tasks.cancel();
    return tasks.join();
  };
  co_await async::finally(run_command(server, run), clean_up);
}

/// The socket through which the command accesses the disk.
struct private_endpoint {
  private_directory directory;
  endpoints sockets;
};

asio::awaitable<void> serve_while(private_endpoint& ready, const std::vector<std::string>& command,
                                  disk_server& server, int& status) {
  const auto& path = ready.sockets.unix_paths.front();
  ::setenv("unixsocket", path.c_str(), 1);
  const auto uri =
      fmt::format("nbd+unix:///{}?socket={}",
                  uri_part(server.disks.front().claimed.exports.front().name), uri_part(path));
  ::setenv("uri", uri.c_str(), 1);
  command_run run{command, status};
  service_work work;
  work.task = [&] { return run_with_progress(server, run); };
  work.on_hang_up = hang_up::stops;
  work.stopped_by_signal = [&](int number) {
    if (number == SIGHUP) run.stop_signal = SIGHUP;
  };
  co_await serve_until_stopped(server, std::move(ready.sockets), std::move(work));
}

disk_service prepare(const run_options& options, int& status) {
  if (const auto program = find_program(options.command.front()); !program) {
    log().error("{}", program.error().text);
    status = status_of_problem(program.error().code);
    return {};
  }
  auto ready = std::make_shared<private_endpoint>();
  const auto path = ready->directory.path() + "/nbd.sock";
  ready->sockets.listeners.push_back(nbd::listen_unix(path));
  ready->sockets.unix_paths.push_back(path);
  disk_service out;
  out.serve = [ready = std::move(ready), &options, &status](disk_server& server) {
    return serve_while(*ready, options.command, server, status);
  };
  return out;
}

cli::exit_code run(const run_options& options) {
  int status = 1;
  with_disk_server(options.server, {},
                   [&](const claimed_disks&) { return prepare(options, status); });
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
      .describe(
          "SIGTERM, SIGINT or SIGHUP ends CMD with SIGTERM, or with SIGHUP if that signal arrived "
          "(for example because the terminal was closed); after 5 seconds, CMD is killed. The disk "
          "is then closed as by the serve command. If xenpv-disk itself is killed, CMD receives "
          "SIGTERM.")
      .example("copy a disk into an image", "xenpv-disk run xvdb -- sh -c 'nbdcopy $uri disk.img'");
  add_disk_argument(command, options.server);
  add_disk_options(command, options.server);
  add_client_options(command, options.server);
  command.takes_command(options.command).action([](std::ostream&) { return run(options); });
}

}  // namespace xenpv::disk_app
