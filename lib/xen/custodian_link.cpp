#include "xen/custodian_link.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <utility>
#include <vector>

#include "xen/custodian_process.hpp"
#include "xen/packet_socket.hpp"
#include "xenpv/base/error.hpp"

extern char** environ;

namespace xenpv::xen {
namespace {

constexpr std::string_view starting = "start the custodian";
constexpr auto helper_name = "xenpv-custodian";
/// Starting a custodian takes milliseconds unless the machine is out of memory or paused.
constexpr std::chrono::seconds start_limit{5};
/// First descriptor number above the standard streams and a new custodian's socket.
constexpr int first_free_number = custodian_socket + 1;

/// Moves `descriptor` to a number above those that a new custodian uses.
unique_fd move_above_used(unique_fd descriptor) {
  const int moved = ::fcntl(descriptor.get(), F_DUPFD_CLOEXEC, first_free_number);
  if (moved < 0) throw_errno(starting);
  return unique_fd(moved);
}

std::pair<unique_fd, unique_fd> make_socket_pair() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
    throw_errno(starting);
  unique_fd main_end(ends[0]);
  unique_fd custodian_end(ends[1]);
  return {move_above_used(std::move(main_end)), move_above_used(std::move(custodian_end))};
}

std::vector<std::filesystem::path> helper_paths() {
  if (const char* const configured = ::secure_getenv("XENPV_CUSTODIAN")) return {configured};
#ifdef XENPV_STATIC
  // The multi-call program contains the custodian, and chooses it by the name in argv[0].
  return {"/proc/self/exe"};
#else
  std::vector<std::filesystem::path> paths;
  std::error_code code;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", code);
  if (!code) {
    paths.push_back(self.parent_path() / helper_name);
    // An installation that was moved as a whole.
    paths.push_back(self.parent_path().parent_path() / "libexec" / "xenpv" / helper_name);
  }
  paths.push_back(std::filesystem::path(XENPV_CUSTODIAN_DIR) / helper_name);
  return paths;
#endif
}

/// Owns the attributes and file actions for posix_spawn(3).
class spawn_plan {
 public:
  spawn_plan() {
    ::posix_spawnattr_init(&attributes_);
    ::posix_spawn_file_actions_init(&actions_);
  }
  spawn_plan(const spawn_plan&) = delete;
  spawn_plan& operator=(const spawn_plan&) = delete;
  ~spawn_plan() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }

  /// Starts the custodian with all signals blocked. The custodian unblocks the signals after it has
  /// set up which ones to ignore.
  void block_signals() {
    sigset_t all;
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes_, &all);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK);
  }
  void pass_descriptor(int descriptor, int number) {
    ::posix_spawn_file_actions_adddup2(&actions_, descriptor, number);
  }
  [[nodiscard]] pid_t start(const custodian_program& program, custodian_memory memory) const {
    std::vector<std::string> words = {helper_name};
    if (memory == custodian_memory::locked) words.emplace_back(lock_memory_argument);
    if (!program.sandbox().empty()) words.push_back(sandbox_argument + program.sandbox());
    std::vector<char*> arguments;
    arguments.reserve(words.size() + 1);
    for (auto& word : words)
      arguments.push_back(word.data());
    arguments.push_back(nullptr);
    const auto path = fmt::format("/proc/self/fd/{}", program.descriptor());
    pid_t process = -1;
    const int error =
        ::posix_spawn(&process, path.c_str(), &actions_, &attributes_, arguments.data(), environ);
    if (error != 0) throw_errno(error, starting);
    return process;
  }

 private:
  posix_spawnattr_t attributes_{};
  posix_spawn_file_actions_t actions_{};
};

/// A custodian's memory is locked if the process that starts it has locked its own memory, which
/// shows in that a new page is resident before its first use.
custodian_memory memory_for_custodian() {
  const auto size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  void* const page =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return custodian_memory::pageable;
  unsigned char state = 0;
  const bool is_resident = ::mincore(page, size, &state) == 0 && (state & 1U) != 0;
  ::munmap(page, size);
  return is_resident ? custodian_memory::locked : custodian_memory::pageable;
}

std::string describe_end(int status) {
  if (WIFSIGNALED(status)) return fmt::format("killed by signal {}", WTERMSIG(status));
  return fmt::format("exit status {}", WEXITSTATUS(status));
}

}  // namespace

custodian_program custodian_program::find() {
  custodian_program program;
  const auto paths = helper_paths();
  for (const auto& path : paths) {
    unique_fd file(::open(path.c_str(), O_PATH | O_CLOEXEC));
    if (!file || ::access(path.c_str(), X_OK) != 0) continue;
    program.file_ = move_above_used(std::move(file));
    break;
  }
  for (const auto& path : paths)
    program.searched_paths_ += (program.searched_paths_.empty() ? "" : ", ") + path.string();
  return program;
}

started_custodian execute_custodian(const custodian_program& program) {
  if (!program.is_found())
    throw failure(
        errc::not_available, starting,
        fmt::format("install xenpv-custodian in one of: {}, or name it in XENPV_CUSTODIAN",
                    program.searched_paths()));
  auto [main_end, custodian_end] = make_socket_pair();
  spawn_plan plan;
  plan.block_signals();
  plan.pass_descriptor(custodian_end.get(), custodian_socket);
  const auto process = plan.start(program, memory_for_custodian());
  custodian_link link(started_custodian{std::move(main_end), process});
  custodian_end.reset();
  try {
    link.await_packet(start_limit, starting);
    if (!link.receive())
      throw failure(errc::lost_connection, starting, "it exited: " + link.reap(0));
  } catch (...) {
    link.kill();
    throw;
  }
  return {std::move(link.socket_), link.process_};
}

std::optional<custodian_reply> custodian_link::exchange(const custodian_request& request,
                                                        int descriptor) {
  if (!send_packet(socket_.get(), encode(request), descriptor)) return std::nullopt;
  return receive();
}

std::optional<custodian_reply> custodian_link::exchange(const custodian_request& request,
                                                        std::chrono::milliseconds limit) {
  if (!send_packet(socket_.get(), encode(request))) return std::nullopt;
  await_packet(limit, "wait for the custodian");
  return receive();
}

void custodian_link::await_packet(std::chrono::milliseconds limit,
                                  std::string_view operation) const {
  const auto until = std::chrono::steady_clock::now() + limit;
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    pollfd entry{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    const int ready = left.count() > 0 ? ::poll(&entry, 1, static_cast<int>(left.count())) : 0;
    if (ready > 0) return;
    if (ready == 0)
      throw failure(errc::timed_out, operation,
                    fmt::format("process {} did not reply within {} s", process_,
                                std::chrono::duration_cast<std::chrono::seconds>(limit).count()));
    if (errno != EINTR) throw_errno(operation);
  }
}

std::optional<custodian_reply> custodian_link::receive() {
  const auto received = receive_packet(socket_.get());
  if (!received) return std::nullopt;
  return decode_reply(received->bytes).value();
}

bool custodian_link::is_hung_up() const noexcept {
  pollfd entry{.fd = socket_.get(), .events = 0, .revents = 0};
  return ::poll(&entry, 1, 0) == 1 && (entry.revents & (POLLHUP | POLLERR)) != 0;
}

void custodian_link::kill() noexcept {
  if (process_ <= 1) return;
  ::kill(process_, SIGKILL);
  static_cast<void>(reap(0));
}

std::string custodian_link::reap(int options) noexcept {
  if (process_ <= 1) return {};
  int status = 0;
  pid_t ended = -1;
  do {
    ended = ::waitpid(process_, &status, options);
  } while (ended < 0 && errno == EINTR);
  if (ended != process_) return {};
  // The PID may be reused from now on.
  process_ = -1;
  return describe_end(status);
}

void custodian_link::await_end() noexcept {
  pollfd entry{.fd = socket_.get(), .events = 0, .revents = 0};
  const auto limit = std::chrono::milliseconds(start_limit);
  while (::poll(&entry, 1, static_cast<int>(limit.count())) < 0 && errno == EINTR) {
  }
  static_cast<void>(reap(0));
}

}  // namespace xenpv::xen
