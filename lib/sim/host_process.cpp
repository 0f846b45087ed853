#include "sim/host_process.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/pipe.hpp"
#include "sim/listen.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::sim {
namespace {

std::filesystem::path make_directory() {
  const char* top = std::getenv("TMPDIR");
  std::string name =
      fmt::format("{}/xenpv-sim-XXXXXX", top != nullptr && *top != '\0' ? top : "/tmp");
  if (::mkdtemp(name.data()) == nullptr)
    throw_errno(fmt::format("create a directory like {}", name));
  return name;
}

void claim_directory(const std::filesystem::path& directory, std::optional<uid_t> user) {
  std::filesystem::create_directories(directory);
  if (!std::filesystem::is_empty(directory))
    throw failure(errc::invalid_argument, fmt::format("directory {}", directory.string()),
                  "it is not empty; choose an empty directory for the simulated host");
  restrict_directory(directory, user);
}

void empty_directory(const std::filesystem::path& directory) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(directory, ignored))
    std::filesystem::remove_all(entry.path(), ignored);
}

/// Runs the host until it stops. Closes `report` when the host is ready, or writes the reason to
/// `report` if the host fails to start.
[[noreturn]] void run_host(const host_options& options, unique_fd report) {
  ::signal(SIGPIPE, SIG_IGN);
  ::prctl(PR_SET_NAME, "xenpv-sim-host");
  // The other user must be able to read the files that emulate /proc and /sys.
  if (options.allowed_user) ::umask(022);
  int status = 0;
  try {
    host simulated(options);
    simulated.run([&] { report.reset(); });
    // Empty the directory while the sockets are still open: clients may reuse the directory as soon
    // as the sockets are closed.
    empty_directory(options.directory);
  } catch (const std::exception& problem) {
    if (report) {
      [[maybe_unused]] const auto written =
          ::write(report.get(), problem.what(), std::strlen(problem.what()));
    }
    log().error("simulated host: {}", problem.what());
    status = 1;
  }
  empty_directory(options.directory);
  ::_exit(status);
}

/// Waits for the host's report. Throws `failure` with the reported message unless the report is
/// empty.
void await_report(unique_fd report) {
  std::string message;
  char bytes[512];
  for (;;) {
    const auto got = ::read(report.get(), bytes, sizeof bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    message.append(bytes, static_cast<std::size_t>(got));
  }
  if (!message.empty()) throw failure(error{make_error_code(errc::invalid_argument), message});
}

}  // namespace

host_process::host_process(std::filesystem::path directory, pid_t process,
                           bool made_directory) noexcept
    : directory_(std::move(directory)), process_(process), made_directory_(made_directory) {}

host_process::host_process(host_process&& other) noexcept
    : directory_(std::move(other.directory_)),
      process_(std::exchange(other.process_, -1)),
      made_directory_(std::exchange(other.made_directory_, false)) {}

host_process host_process::start(host_options options) {
  const bool needs_directory = options.directory.empty();
  if (needs_directory) {
    options.directory = make_directory();
    restrict_directory(options.directory, options.allowed_user);
  } else {
    claim_directory(options.directory, options.allowed_user);
  }
  auto [reader, writer] = make_pipe();
  const auto parent = ::getpid();
  const auto child = ::fork();
  if (child < 0) throw_errno("fork the simulated host");
  if (child == 0) {
    reader.reset();
    // Leave the terminal session, so that ^C interrupts only the command in the domain.
    ::setsid();
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);
    run_host(options, std::move(writer));
  }
  writer.reset();
  host_process started(options.directory, child, needs_directory);
  await_report(std::move(reader));
  return started;
}

void host_process::start_daemon(const host_options& options) {
  claim_directory(options.directory, options.allowed_user);
  auto [reader, writer] = make_pipe();
  const auto child = ::fork();
  if (child < 0) throw_errno("fork the simulated host");
  if (child == 0) {
    reader.reset();
    ::setsid();
    if (::fork() != 0) ::_exit(0);
    const unique_fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    const unique_fd log_file(::open((options.directory / "host.log").c_str(),
                                    O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    ::dup2(null.get(), STDIN_FILENO);
    for (const int standard : {STDOUT_FILENO, STDERR_FILENO})
      ::dup2(log_file ? log_file.get() : null.get(), standard);
    run_host(options, std::move(writer));
  }
  writer.reset();
  ::waitpid(child, nullptr, 0);
  await_report(std::move(reader));
}

void host_process::stop() noexcept {
  if (process_ > 0) {
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
    process_ = -1;
  }
  if (made_directory_) {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
    made_directory_ = false;
  }
}

host_process::~host_process() {
  stop();
}

}  // namespace xenpv::sim
