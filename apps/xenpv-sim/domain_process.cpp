#include "domain_process.hpp"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "sim/intercept/supervisor.hpp"
#include "sim/launch.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/base/system_root.hpp"

namespace xenpv::sim_app {
namespace {

constexpr int not_executable = 126;
constexpr int not_found = 127;

volatile std::sig_atomic_t forward_to = 0;

void forward(int signal) {
  if (forward_to > 0) ::kill(forward_to, signal);
}

void forward_signals_to(pid_t command) {
  struct sigaction ignore {};
  struct sigaction pass_on {};
  ignore.sa_handler = SIG_IGN;
  pass_on.sa_handler = forward;
  forward_to = command;
  ::sigaction(SIGINT, &ignore, nullptr);
  ::sigaction(SIGQUIT, &ignore, nullptr);
  ::sigaction(SIGTERM, &pass_on, nullptr);
  ::sigaction(SIGHUP, &pass_on, nullptr);
}

int to_shell_status(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// Like execute_in_domain(), but exits if the command cannot be started.
[[noreturn]] void become_command(const std::filesystem::path& domain_directory,
                                 const std::vector<std::string>& command) {
  try {
    execute_in_domain(domain_directory, command);
  } catch (const failure& problem) {
    log().error("{}", problem.what());
    ::_exit(problem.code().value() == ENOENT ? not_found : not_executable);
  }
}

std::vector<pid_t> children() {
  std::vector<pid_t> out;
  const auto self = std::to_string(::getpid());
  const system_root root("/");
  for (const auto& name : root.names("/proc")) {
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    // "pid (comm) state ppid": comm may contain any character, so search backwards for the
    // parenthesis that closes it.
    const auto stat = root.read("/proc/" + name + "/stat").value_or("");
    const auto end = stat.rfind(')');
    if (end == std::string::npos || end + 4 > stat.size()) continue;
    if (stat.compare(end + 4, self.size() + 1, self + " ") == 0) out.push_back(std::stoi(name));
  }
  return out;
}

}  // namespace

void execute_in_domain(const std::filesystem::path& domain_directory,
                       const std::vector<std::string>& command) {
  for (const auto& [name, value] : sim::domain_environment(domain_directory))
    ::setenv(name.c_str(), value.c_str(), 1);
  ::signal(SIGPIPE, SIG_DFL);
  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (const auto& argument : command)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  ::execvp(arguments[0], arguments.data());
  throw_errno(fmt::format("run {}", command.front()));
}

pid_t spawn_in_domain(const std::filesystem::path& domain_directory,
                      const std::vector<std::string>& command) {
  const auto child = ::fork();
  if (child < 0) throw_errno(fmt::format("fork for {}", command.front()));
  if (child == 0) become_command(domain_directory, command);
  return child;
}

int wait_for(pid_t child) {
  forward_signals_to(child);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  forward_to = 0;
  return to_shell_status(status);
}

int run_intercepted(const std::filesystem::path& domain_directory,
                    const std::vector<std::string>& command) {
  const auto started = sim::intercept::supervised_command::start(
      domain_directory, [&] { become_command(domain_directory, command); });
  forward_signals_to(started.process());
  const int status = started.wait();
  forward_to = 0;
  return to_shell_status(status);
}

void adopt_orphans() {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
}

void end_orphans() {
  // The children of a killed process are reparented to this process, so repeat until none is left.
  for (auto left = children(); !left.empty(); left = children()) {
    for (const auto child : left)
      ::kill(child, SIGKILL);
    // Wait only for these. Their children, which are now reparented, have not been killed yet.
    for (const auto child : left)
      ::waitpid(child, nullptr, 0);
  }
}

}  // namespace xenpv::sim_app
