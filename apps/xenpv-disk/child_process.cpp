#include "child_process.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <system_error>

#include "base/pipe.hpp"
#include "hang_up.hpp"
#include "memory_lock.hpp"

extern char** environ;

namespace xenpv::disk_app {
namespace {

/// Blocks all signals of this thread during its lifetime. Otherwise, a signal for the new process
/// could run a handler of this program there, which would report it to this process.
class blocked_signals {
 public:
  blocked_signals() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~blocked_signals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  blocked_signals(const blocked_signals&) = delete;
  blocked_signals& operator=(const blocked_signals&) = delete;
  [[nodiscard]] const sigset_t& before() const noexcept { return before_; }

 private:
  sigset_t before_{};
};

/// Everything that the new process needs, prepared before fork().
struct child_plan {
  const char* program;
  char* const* arguments;
  pid_t parent;
  int report;  ///< takes the errno of a failure
  bool ignores_hang_ups;
  const sigset_t& mask;
};

/// Runs after fork() in a multi-threaded process, so it may only make system calls.
[[noreturn]] void run_child(const child_plan& plan) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  // The parent may have died before the call above.
  if (::getppid() != plan.parent) ::_exit(1);
  // This program ignores SIGPIPE and handles the others.
  for (const int number : {SIGPIPE, SIGTERM, SIGINT, SIGHUP, SIGCHLD})
    ::signal(number, SIG_DFL);
  if (plan.ignores_hang_ups) ::signal(SIGHUP, SIG_IGN);
  reset_inherited_settings();
  ::sigprocmask(SIG_SETMASK, &plan.mask, nullptr);
  ::execve(plan.program, plan.arguments, environ);
  const int problem = errno;
  [[maybe_unused]] const auto written = ::write(plan.report, &problem, sizeof problem);
  ::_exit(127);
}

pid_t start(const std::vector<std::string>& command) {
  const auto action = fmt::format("run {}", command.front());
  const auto program = find_program(command.front()).value();
  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (const auto& argument : command)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  auto report = make_pipe();
  pid_t child = -1;
  {
    const blocked_signals blocked;
    const child_plan plan{program.c_str(),     arguments.data(),       ::getpid(),
                          report.writer.get(), hang_ups_are_ignored(), blocked.before()};
    child = ::fork();
    if (child == 0) run_child(plan);
  }
  if (child < 0) throw_errno(action);
  report.writer.reset();
  int problem = 0;
  ssize_t size = 0;
  do {
    size = ::read(report.reader.get(), &problem, sizeof problem);
  } while (size < 0 && errno == EINTR);
  if (size != sizeof problem) return child;
  ::waitpid(child, nullptr, 0);
  throw_errno(problem, action);
}

}  // namespace

result<std::string> find_program(const std::string& name) {
  std::vector<std::string> paths;
  if (name.find('/') != std::string::npos) {
    paths.push_back(name);
  } else {
    const char* const value = ::getenv("PATH");
    std::istringstream folders(value != nullptr ? value : "/bin:/usr/bin");
    for (std::string folder; std::getline(folders, folder, ':');)
      paths.push_back((folder.empty() ? "." : folder) + "/" + name);
  }
  auto problem = std::errc::no_such_file_or_directory;
  for (const auto& path : paths) {
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) continue;
    if (!std::filesystem::is_directory(path, ignored) && ::access(path.c_str(), X_OK) == 0)
      return path;
    problem = std::errc::permission_denied;
  }
  return make_error(std::make_error_code(problem), fmt::format("run {}", name));
}

child_process::child_process(const asio::any_io_executor& executor,
                             const std::vector<std::string>& command)
    : ended_(executor, SIGCHLD), pid_(start(command)) {}

asio::awaitable<int> child_process::wait() {
  int status = 0;
  while (::waitpid(pid_, &status, WNOHANG) == 0)
    co_await ended_.async_wait(asio::use_awaitable);
  co_return status;
}

void child_process::kill(int signal) const noexcept {
  ::kill(pid_, signal);
}

}  // namespace xenpv::disk_app
