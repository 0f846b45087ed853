#include "xen/custodian_process.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <exception>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/log_output.hpp"
#include "xen/packet_socket.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/xen/suspend_clock.hpp"

namespace xenpv::xen {
namespace {

void redirect_to_null(int number) {
  unique_fd null(::open("/dev/null", O_RDWR));
  // If `number` was free, open(2) may have returned that number.
  if (null.get() == number)
    static_cast<void>(null.release());
  else
    ::dup2(null.get(), number);
}

// Kernels before 5.9 lack close_range(2).
void close_one_by_one(int first) {
  std::vector<int> open_numbers;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", ignored)) {
    const auto name = entry.path().filename().string();
    int number = -1;
    std::from_chars(name.data(), name.data() + name.size(), number);
    if (number >= first) open_numbers.push_back(number);
  }
  for (const int number : open_numbers)
    ::close(number);
}

void close_from(int first) {
  if (::syscall(SYS_close_range, static_cast<unsigned>(first), ~0U, 0U) != 0)
    close_one_by_one(first);
}

void ignore_signals() {
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGALRM, SIGUSR1, SIGUSR2})
    std::signal(number, SIG_IGN);
  // The parent's handler would access the parent's objects.
  std::signal(SIGCHLD, SIG_DFL);
  // An executed custodian starts with all signals blocked.
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

/// Detaches from the parent, but keeps the socket and stderr. Returns the socket with its new
/// descriptor number.
unique_fd leave_parent(unique_fd socket) {
  ignore_signals();
  ::setsid();
  ::prctl(PR_SET_NAME, "xenpv-custodian");
  static_cast<void>(::chdir("/"));
  redirect_to_null(STDIN_FILENO);
  redirect_to_null(STDOUT_FILENO);
  if (::fcntl(STDERR_FILENO, F_GETFD) < 0) redirect_to_null(STDERR_FILENO);
  if (socket.get() != custodian_socket) {
    ::dup2(socket.get(), custodian_socket);
    socket.reset();
  } else {
    static_cast<void>(socket.release());
  }
  close_from(custodian_socket + 1);
  return unique_fd(custodian_socket);
}

/// Exempts this process from the OOM killer, if it is privileged: after a resume, its exit would
/// close descriptors that must stay open. Called at the start, because the privilege is dropped
/// before a resume.
void avoid_oom_killer() {
  std::ofstream("/proc/self/oom_score_adj") << "-1000";
}

/// Exempts this process from systemd's final SIGKILL at shutdown, which spares root's processes
/// whose argv[0] starts with '@'. In glibc and musl, program_invocation_name points to argv[0]
/// itself.
void survive_shutdown() {
  program_invocation_name[0] = '@';
}

/// Memory locks are not inherited, unlike the other settings of a server that must not wait for its
/// own disk (memory_lock.hpp).
void lock_memory() {
  // Later allocations must not fail without CAP_IPC_LOCK, which the custodian drops.
  constexpr rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY};
  ::setrlimit(RLIMIT_MEMLOCK, &unlimited);
  if (::mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
    log().warn("custodian: cannot lock its memory: {}", describe_errno(errno));
}

void clean_up(custodian_duty& duty) {
  const auto cleanups = duty.take_cleanups();
  if (cleanups.empty()) return;
  try {
    const auto store = open_cleanup_store();
    run_cleanups(cleanups, *store, cleanup_limit);
  } catch (const std::exception& e) {
    log().warn("custodian: cannot run the cleanups: {}", e.what());
  }
}

custodian_reply answer(custodian_duty& duty, packet received) {
  const auto request = decode_request(received.bytes);
  if (!request)
    return {.refusal = static_cast<int>(errc::protocol_violation), .reason = request.error().text};
  // Run the cleanups before closing any descriptor: a successor that waits for a held lock must not
  // start before the cleanups are done.
  if (std::holds_alternative<clean_up_request>(*request) ||
      std::holds_alternative<stop_request>(*request))
    clean_up(duty);
  auto reply = duty.handle(*request, std::move(received.descriptor));
  if (duty.must_stay()) survive_shutdown();
  return reply;
}

/// Handles requests until a clean stop or until the main process has closed its end.
void serve(int socket, custodian_duty& duty, suspend_clock& suspends) {
  if (!send_packet(socket, encode(custodian_reply{}))) return;
  while (!duty.stopped()) {
    auto received = receive_packet(socket);
    if (!received) return;
    const auto reading = suspends.reading();
    const auto resumes = duty.resumes();
    if (!send_packet(socket, encode(answer(duty, *std::move(received))))) return;
    if (duty.resumes() != resumes) suspends.acknowledge(reading);
  }
}

/// Keeps all descriptors open: the main process may have died before it detected a resume. If the
/// suspend was only a checkpoint, this process keeps running needlessly.
void keep_all(custodian_duty& duty) {
  static_cast<void>(duty.handle(resumed_request{}, {}));
  if (duty.must_stay()) survive_shutdown();
}

/// Sleeps until SIGKILL or power-off. First closes the socket and stderr, because another process
/// may be waiting for end of file on them.
[[noreturn]] void sleep_for_ever(unique_fd socket) {
  socket.reset();
  redirect_to_null(STDERR_FILENO);
  for (;;)
    ::pause();
}

}  // namespace

void run_as_custodian(unique_fd inherited, custodian_memory memory,
                      const std::function<void()>& confine) noexcept {
  // The reader of the log may be waiting for a disk that the custodian has to close.
  limit_log_waits();
  unique_fd socket;
  custodian_duty duty;
  suspend_clock suspends;
  try {
    socket = leave_parent(std::move(inherited));
    avoid_oom_killer();
    if (memory == custodian_memory::locked) lock_memory();
    try {
      confine();
    } catch (const std::exception& e) {
      log().warn("custodian: it keeps its privileges: {}", e.what());
    }
    serve(socket.get(), duty, suspends);
    if (!duty.stopped()) {
      if (suspends.has_moved()) keep_all(duty);
      clean_up(duty);
    }
    duty.close_held();
    duty.close_releasable();
    if (!duty.must_stay()) ::_exit(0);
  } catch (const std::exception& e) {
    // Closing a descriptor at the wrong time is worse than never closing it.
    log().error("custodian: {}; its descriptors stay open", e.what());
  }
  sleep_for_ever(std::move(socket));
}

}  // namespace xenpv::xen
