#include "sim/intercept/supervisor.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <exception>
#include <optional>

#include "base/pipe.hpp"
#include "sim/intercept/device_calls.hpp"
#include "sim/intercept/filter.hpp"
#include "sim/intercept/path_calls.hpp"
#include "sim/intercept/processes.hpp"
#include "sim/intercept/system_call.hpp"
#include "sim/reactor.hpp"
#include "sim/socket_message.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::sim::intercept {
namespace {

/// The first message from the supervisor. The second is the command's status, an int.
struct start_report {
  pid_t process = 0;
  int error = 0;  ///< errno of the filter's installation
};

template <class T>
void send(int report, const T& message) {
  // The write fails if no process waits for the command any more.
  [[maybe_unused]] const auto written = ::write(report, &message, sizeof message);
}

template <class T>
bool receive(int report, T& message) {
  ssize_t got = 0;
  do {
    got = ::read(report, &message, sizeof message);
  } while (got < 0 && errno == EINTR);
  return got == static_cast<ssize_t>(sizeof message);
}

/// Ignores the signals that a terminal or a service manager sends to all processes of the command:
/// the supervisor must outlive them.
class ignored_signals {
 public:
  ignored_signals() noexcept {
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    for (std::size_t i = 0; i < signals.size(); ++i)
      ::sigaction(signals[i], &ignore, &before_[i]);
  }
  /// For the command.
  void restore() const noexcept {
    for (std::size_t i = 0; i < signals.size(); ++i)
      ::sigaction(signals[i], &before_[i], nullptr);
  }

 private:
  static constexpr std::array signals = {SIGINT, SIGQUIT, SIGTERM, SIGHUP};
  std::array<struct sigaction, signals.size()> before_{};
};

/// Installs the filter, sends the listener to the supervisor, and becomes the command.
[[noreturn]] void become_command(const descriptor_range& evtchn, unique_fd supervisor,
                                 const std::function<void()>& execute) {
  auto listener = install_filter(evtchn);
  const int error = listener ? 0 : errno;
  const bool sent =
      send_message(supervisor.get(), &error, sizeof error, nullptr, 0, listener.get());
  // The listener tells the supervisor when all processes have exited.
  listener.reset();
  supervisor.reset();
  if (error == 0 && sent) execute();
  ::_exit(1);
}

/// Closes the descriptors inherited from the caller, such as a pipe whose reader waits for EOF.
void close_inherited(std::array<int, 2> kept) {
  std::sort(kept.begin(), kept.end());
  auto next = static_cast<unsigned>(STDERR_FILENO + 1);
  for (const int fd : kept) {
    if (static_cast<unsigned>(fd) > next) ::close_range(next, static_cast<unsigned>(fd) - 1, 0);
    next = static_cast<unsigned>(fd) + 1;
  }
  ::close_range(next, ~0U, 0);
}

void discard(std::initializer_list<int> streams) {
  const unique_fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (const int stream : streams)
    ::dup2(null.get(), stream);
}

class supervisor {
 public:
  supervisor(unique_fd listener, const descriptor_range& evtchn, pid_t command, unique_fd report)
      : listener_(std::move(listener)),
        command_(command),
        report_(std::move(report)),
        processes_(reactor_),
        devices_(processes_, evtchn, report_.get()),
        paths_(devices_) {}

  void run() {
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &child, nullptr);
    const unique_fd signals(::signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals) throw_errno("signalfd");
    reactor_.add(signals.get(), EPOLLIN, [&](std::uint32_t) {
      signalfd_siginfo ignored{};
      while (::read(signals.get(), &ignored, sizeof ignored) > 0) {
      }
      reap(WNOHANG);
    });
    reactor_.add(listener_.get(), EPOLLIN, [this](std::uint32_t events) {
      if ((events & EPOLLIN) != 0)
        answer_call();
      else
        reactor_.stop();  // the last process has exited
    });
    reap(WNOHANG);
    reactor_.run();
    reap(0);
  }

 private:
  /// Reaps the command and the orphans among its descendants. `options`: as for waitpid(2).
  void reap(int options) {
    int status = 0;
    for (;;) {
      const auto process = ::waitpid(-1, &status, options);
      if (process < 0 && errno == EINTR) continue;
      if (process <= 0) return;
      if (process != command_) continue;
      send(report_.get(), status);
      report_.reset();
      // A reader of the command's messages must not wait for the background processes.
      discard({STDERR_FILENO});
    }
  }

  void answer_call() {
    auto call = system_call::receive(listener_.get());
    if (!call) return;
    switch (call->number()) {
      case SYS_ioctl:
        devices_.ioctl(*call);
        return;
      case SYS_write:
        devices_.write(*call);
        return;
      case SYS_writev:
        devices_.writev(*call);
        return;
      default:
        paths_.answer(*call);
        return;
    }
  }

  unique_fd listener_;
  pid_t command_;
  unique_fd report_;
  reactor reactor_;
  processes processes_;
  device_calls devices_;
  path_calls paths_;
};

void supervise(const std::filesystem::path& domain_directory, const std::function<void()>& execute,
               unique_fd report) {
  ::prctl(PR_SET_NAME, "xenpv-sim-calls");
  // Inspecting a process may require that it is a descendant (kernel.yama.ptrace_scope = 1).
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  const ignored_signals ignored;
  const auto evtchn = choose_evtchn_range();
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) throw_errno("socketpair");
  unique_fd own_end(ends[0]);
  unique_fd command_end(ends[1]);
  const auto command = ::fork();
  if (command < 0) throw_errno("fork");
  if (command == 0) {
    own_end.reset();
    report.reset();
    ignored.restore();
    become_command(evtchn, std::move(command_end), execute);
  }
  command_end.reset();
  close_inherited({own_end.get(), report.get()});
  discard({STDIN_FILENO, STDOUT_FILENO});
  ::setenv("XENPV_SIM_DIR", domain_directory.c_str(), 1);

  start_report started{command, 0};
  unique_fd listener;
  if (receive_message(own_end.get(), &started.error, sizeof started.error, nullptr, 0, listener) !=
      0)
    throw_errno("receive the listener");
  own_end.reset();
  send(report.get(), started);
  if (started.error == 0)
    supervisor(std::move(listener), evtchn, command, std::move(report)).run();
  else
    ::waitpid(command, nullptr, 0);
}

[[noreturn]] void throw_unavailable(int error) {
  if (error == EBUSY)
    throw failure(errc::not_available, "intercept system calls",
                  "another supervisor intercepts those of this process, such as another "
                  "`xenpv-sim --intercept-syscalls`");
  throw failure(errc::not_available,
                fmt::format("intercept system calls: {}", describe_errno(error)),
                "it needs Linux 5.19 with CONFIG_SECCOMP_FILTER; a container must permit seccomp");
}

}  // namespace

supervised_command::supervised_command(pid_t process, unique_fd report) noexcept
    : process_(process), report_(std::move(report)) {}

supervised_command supervised_command::start(const std::filesystem::path& domain_directory,
                                             const std::function<void()>& execute) {
  auto [reader, writer] = make_pipe();
  const auto child = ::fork();
  if (child < 0) throw_errno("fork the supervisor of the command");
  if (child == 0) {
    reader.reset();
    try {
      supervise(domain_directory, execute, std::move(writer));
    } catch (const std::exception& problem) {
      log().error("supervisor of the command: {}", problem.what());
      ::_exit(1);
    }
    ::_exit(0);
  }
  writer.reset();
  start_report started;
  const bool is_received = receive(reader.get(), started);
  if (is_received && started.error == 0) return {started.process, std::move(reader)};
  ::waitpid(child, nullptr, 0);
  if (is_received) throw_unavailable(started.error);
  throw failure(errc::lost_connection, "start the supervisor of the command");
}

int supervised_command::wait() const {
  int status = 0;
  if (!receive(report_.get(), status))
    throw failure(errc::lost_connection, "wait for the command",
                  "the supervisor of its system calls was killed");
  return status;
}

}  // namespace xenpv::sim::intercept
