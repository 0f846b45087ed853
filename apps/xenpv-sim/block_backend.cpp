#include "block_backend.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>

#include "base/log_output.hpp"
#include "base/parse.hpp"
#include "base/pipe.hpp"
#include "blkback/disk_plan.hpp"
#include "blkback/service.hpp"
#include "domain_process.hpp"
#include "host_directory.hpp"
#include "sim/admin_service.hpp"
#include "sim/listen.hpp"
#include "sim/toolstack.hpp"
#include "xenpv/async/cpu_set.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/base/unique_fd.hpp"
#include "xenpv/xen/store.hpp"

namespace xenpv::sim_app {
namespace {

constexpr std::string_view silent_argument = "silent";
constexpr std::string_view verbose_argument = "verbose";

/// Redirects `streams` to /dev/null: the command that runs in the guest uses the original streams.
void silence(std::initializer_list<int> streams) {
  const unique_fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (const int stream : streams)
    ::dup2(null.get(), stream);
}

[[noreturn]] void become_backend(const std::filesystem::path& host_directory, log_mode mode,
                                 unique_fd ready_pipe) {
  try {
    const auto domain = sim::ask_domain_directory(host_directory, domid_0);
    const auto self = std::filesystem::read_symlink("/proc/self/exe").string();
    // Leave the terminal's session, so that ^C interrupts only the command in the guest.
    ::setsid();
    silence({0, 1});
    ::fcntl(ready_pipe.get(), F_SETFD, 0);
    execute_in_domain(domain,
                      {self, std::string(serve_disks_argument), host_directory.string(),
                       fmt::format("{}", ready_pipe.get()),
                       std::string(mode == log_mode::silent ? silent_argument : verbose_argument)});
  } catch (const std::exception& problem) {
    log().error("block backend: {}", problem.what());
  }
  ::_exit(1);
}

/// Ends this process, but not before its messages are written.
[[noreturn]] void exit_now() {
  flush_log(std::chrono::milliseconds(100));
  ::_exit(0);
}

/// Throws `failure` with the backend's reason if it cannot serve one of the disks, as xl does when
/// a hotplug script fails.
void check_hotplug_errors(const std::filesystem::path& host_directory) {
  const auto store = open_domain_0_store(host_directory);
  const auto names_in = [&](const std::string& path) {
    return store.list_if_exists(path).value_or(std::vector<std::string>());
  };
  for (const std::string top : {"/local/domain/0/backend/vbd", "/local/domain/0/backend/qdisk"}) {
    for (const auto& guest : names_in(top)) {
      for (const auto& device : names_in(fmt::format("{}/{}", top, guest))) {
        const auto directory = fmt::format("{}/{}/{}", top, guest, device);
        const auto problem = store.read_if_exists(directory + "/hotplug-error");
        if (problem)
          throw failure(error{make_error_code(errc::lost_connection),
                              fmt::format("disk {} of domain {}: {}",
                                          store.read_if_exists(directory + "/dev").value_or(device),
                                          guest, *problem)});
      }
    }
  }
}

bool has_hung_up(int socket) {
  pollfd poll{socket, POLLIN, 0};
  return ::poll(&poll, 1, 0) > 0;
}

}  // namespace

result<sim::disk_spec> parse_served_disk(std::string_view text) {
  auto disk = sim::parse_disk_spec(text);
  if (!disk) return disk;
  if (!disk->path.empty()) disk->path = std::filesystem::absolute(disk->path);
  if (disk->server != sim::disk_server::simulator) return disk;
  blkback::nodes nodes = {{"params", disk->path}};
  for (auto& [name, value] : sim::disk_nodes("", *disk))
    nodes["xenpv/" + name] = std::move(value);
  if (const auto plan = blkback::parse_disk_plan(nodes, "vbd", 1); !plan)
    return error{plan.error().code, fmt::format("disk {}: {}", disk->name, plan.error().text)};
  return disk;
}

pid_t start_block_backend(const std::filesystem::path& host_directory, log_mode mode) {
  auto [reader, writer] = make_pipe();
  const auto child = ::fork();
  if (child < 0) throw_errno("fork the block backend");
  if (child == 0) become_backend(host_directory, mode, std::move(writer));
  writer.reset();
  char byte = 0;
  ssize_t got = 0;
  while ((got = ::read(reader.get(), &byte, 1)) < 0 && errno == EINTR) {
  }
  if (got == 1) return child;
  end_block_backend(child);
  throw failure(errc::lost_connection, "start the block backend");
}

std::optional<pid_t> start_backends(const std::filesystem::path& host_directory,
                                    std::span<const sim::disk_spec> disks, log_mode mode) {
  const auto is_own = [](const sim::disk_spec& disk) {
    return disk.server == sim::disk_server::simulator;
  };
  // Wait for these first: if this fails, no process needs to be ended.
  sim::await_backends(host_directory);
  if (std::none_of(disks.begin(), disks.end(), is_own)) return std::nullopt;
  const auto backend = start_block_backend(host_directory, mode);
  try {
    check_hotplug_errors(host_directory);
  } catch (...) {
    end_block_backend(backend);
    throw;
  }
  return backend;
}

void end_block_backend(pid_t process) noexcept {
  ::kill(process, SIGKILL);
  ::waitpid(process, nullptr, 0);
}

int serve_disks(const char* host_directory, const char* ready_descriptor, std::string_view mode) {
  set_up_log("xenpv-sim: block backend", log_level::warning);
  unique_fd host;
  try {
    host = sim::connect_to(std::filesystem::path(host_directory) / "admin", SOCK_STREAM);
    unique_fd ready_pipe(
        static_cast<int>(parse_unsigned(ready_descriptor, "descriptor", 3, 1U << 20).value()));
    blkback::serve_options options;
    options.cpus = async::allowed_cpus();
    // Frontends use the first CPUs first, so use the last ones first here: a ring is fastest when
    // its two ends run on different CPUs.
    std::reverse(options.cpus.begin(), options.cpus.end());
    options.ready = [&ready_pipe, mode] {
      if (mode == silent_argument) silence({2});
      [[maybe_unused]] const auto written = ::write(ready_pipe.get(), "r", 1);
      ready_pipe.reset();
    };
    options.stop_descriptor = host.get();
    // Treat the host's exit as a power-off: without xenstore, an orderly teardown is impossible.
    options.stopping = [] { exit_now(); };
    blkback::serve(std::move(options));
    return 0;
  } catch (const std::exception& problem) {
    if (host && has_hung_up(host.get())) exit_now();
    log().error("{}", problem.what());
    return 1;
  }
}

}  // namespace xenpv::sim_app
