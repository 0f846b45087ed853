#include "sim/backend_process.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "xenpv/base/error.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::sim {
namespace {

constexpr int not_found = 127;

/// Becomes the program. Runs in the child; the parent has a single thread, so the child may
/// allocate memory.
[[noreturn]] void become_program(const std::vector<std::string>& arguments,
                                 const std::map<std::string, std::string>& environment,
                                 pid_t parent, int log) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);
  const unique_fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  ::dup2(null.get(), STDIN_FILENO);
  ::dup2(log, STDOUT_FILENO);
  ::dup2(log, STDERR_FILENO);
  ::signal(SIGPIPE, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const auto& [name, value] : environment)
    ::setenv(name.c_str(), value.c_str(), 1);
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (const auto& argument : arguments)
    argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  ::dprintf(STDERR_FILENO, "xenpv-sim: start %s\n",
            fmt::format("{}", fmt::join(arguments, " ")).c_str());
  ::execv(argv[0], argv.data());
  ::dprintf(STDERR_FILENO, "xenpv-sim: cannot run %s: %s\n", argv[0], std::strerror(errno));
  ::_exit(not_found);
}

}  // namespace

backend_process::backend_process(const std::vector<std::string>& arguments,
                                 const std::map<std::string, std::string>& environment,
                                 const std::filesystem::path& log) {
  const unique_fd output(::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!output) throw_errno(fmt::format("open {}", log.string()));
  const auto parent = ::getpid();
  process_ = ::fork();
  if (process_ < 0) throw_errno(fmt::format("fork for {}", arguments.front()));
  if (process_ == 0) become_program(arguments, environment, parent, output.get());
  // The child does the same, because the group must exist before either process continues.
  ::setpgid(process_, process_);
}

backend_process::~backend_process() {
  if (process_ <= 0 || status_) return;
  kill();
  while (::waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void backend_process::kill() noexcept {
  if (process_ > 1 && !status_) ::kill(-process_, SIGKILL);
}

std::optional<int> backend_process::status() noexcept {
  int ended = 0;
  if (!status_ && process_ > 1 && ::waitpid(process_, &ended, WNOHANG) == process_) {
    ::kill(-process_, SIGKILL);
    status_ = ended;
  }
  return status_;
}

std::string describe_status(int status) {
  if (WIFSIGNALED(status)) return fmt::format("signal {}", WTERMSIG(status));
  return fmt::format("exit status {}", WEXITSTATUS(status));
}

}  // namespace xenpv::sim
