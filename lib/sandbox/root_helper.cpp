#include "sandbox/root_helper.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <exception>
#include <filesystem>
#include <iterator>
#include <optional>
#include <utility>

#include "base/log_output.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::sandbox {
namespace {

constexpr auto starting = "start the root helper";
/// The helper's descriptor of the socket: the first after the standard streams.
constexpr int helper_socket = 3;

/// Room for one descriptor more than permitted, so that surplus ones are noticed.
struct rights_buffer {
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int) * (most_descriptors + 1))> bytes{};
};

std::vector<unique_fd> take_descriptors(msghdr& message) {
  std::vector<unique_fd> out;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const auto count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(header) + i * sizeof number, sizeof number);
      out.emplace_back(number);
    }
  }
  return out;
}

struct received_packet {
  std::vector<std::byte> bytes;
  std::vector<unique_fd> descriptors;
  bool is_cut = false;
};

/// Returns nullopt at the end of the connection.
std::optional<received_packet> receive(int socket) {
  received_packet out;
  // One byte more than the largest packet, so that a longer one is noticed.
  out.bytes.resize(std::max(sizeof(helper_request), sizeof(helper_reply)) + 1);
  rights_buffer rights;
  iovec payload{out.bytes.data(), out.bytes.size()};
  for (;;) {
    msghdr message{};
    message.msg_iov = &payload;
    message.msg_iovlen = 1;
    message.msg_control = rights.bytes.data();
    message.msg_controllen = rights.bytes.size();
    const auto size = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno != ECONNRESET) throw_errno("receive from the root helper's peer");
    if (size < 0) return std::nullopt;
    out.descriptors = take_descriptors(message);
    // An empty packet is not the end if it carries descriptors, but it is malformed anyway.
    if (size == 0 && out.descriptors.empty()) return std::nullopt;
    out.is_cut = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
    out.bytes.resize(static_cast<std::size_t>(size));
    return out;
  }
}

/// Returns false if the peer has closed its end.
bool send(int socket, const void* bytes, std::size_t size, const std::vector<int>& descriptors) {
  iovec payload{const_cast<void*>(bytes), size};
  msghdr message{};
  message.msg_iov = &payload;
  message.msg_iovlen = 1;
  rights_buffer rights;
  if (!descriptors.empty()) {
    if (descriptors.size() > most_descriptors)
      throw failure(errc::limit_reached, "pass descriptors to the root helper",
                    "at most " + std::to_string(most_descriptors));
    message.msg_control = rights.bytes.data();
    message.msg_controllen = CMSG_SPACE(sizeof(int) * descriptors.size());
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * descriptors.size());
    std::memcpy(CMSG_DATA(header), descriptors.data(), sizeof(int) * descriptors.size());
  }
  for (;;) {
    if (::sendmsg(socket, &message, MSG_NOSIGNAL) >= 0) return true;
    if (errno == EPIPE || errno == ECONNRESET) return false;
    if (errno != EINTR) throw_errno("send to the root helper's peer");
  }
}

void require_one_thread() {
  std::error_code code;
  const std::filesystem::directory_iterator tasks("/proc/self/task", code);
  if (!code && std::distance(tasks, std::filesystem::directory_iterator()) != 1)
    throw failure(errc::invalid_argument, starting, "other threads are running");
}

void close_others() {
  constexpr int most_open = 65536;
  if (::syscall(SYS_close_range, static_cast<unsigned>(helper_socket + 1), ~0U, 0U) == 0) return;
  // Kernels before 5.9.
  for (int number = helper_socket + 1; number < most_open; ++number)
    ::close(number);
}

void redirect_to_null(int number) {
  const unique_fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (null) ::dup2(null.get(), number);
}

/// Signals that stop a server reach its whole process group or service. The helper outlives them,
/// because the server still needs it while it stops.
void ignore_signals() {
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGALRM, SIGUSR1, SIGUSR2})
    std::signal(number, SIG_IGN);
  // Nothing waits for the programs that the helper starts.
  std::signal(SIGCHLD, SIG_IGN);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

[[noreturn]] void run_helper(int socket, helper_role role, const char* name,
                             const root_helper::preparation& prepare,
                             const helper_operations& operations) noexcept {
  int status = 1;
  try {
    // First, because it closes descriptors of the log.
    limit_log_waits();
    ignore_signals();
    ::setsid();
    ::prctl(PR_SET_NAME, name);
    // Readers of the server's output need not wait for the helper.
    redirect_to_null(STDIN_FILENO);
    redirect_to_null(STDOUT_FILENO);
    ::dup2(socket, helper_socket);
    ::fcntl(helper_socket, F_SETFD, FD_CLOEXEC);
    close_others();
    prepare();
    static_cast<void>(::chdir("/"));
    // Tells the server that the helper is ready.
    const helper_reply ready;
    if (send(helper_socket, &ready, sizeof ready, {}))
      serve_requests(helper_socket, role, operations);
    status = 0;
  } catch (const std::exception& problem) {
    log().error("root helper: {}", problem.what());
  }
  ::_exit(status);
}

helper_reply reply_for(const std::exception_ptr& problem) {
  helper_reply out;
  try {
    std::rethrow_exception(problem);
  } catch (const failure& e) {
    out.set_error(e.code(), e.what());
  } catch (const std::exception& e) {
    out.set_error(std::make_error_code(std::errc::io_error), e.what());
  }
  return out;
}

helper_outcome carry_out(helper_policy& policy, const received_packet& packet,
                         const helper_operations& operations) {
  if (packet.is_cut)
    throw failure(errc::protocol_violation, "decode a request to the root helper",
                  "it is longer than a request, or has too many descriptors");
  const auto request = decode_helper_request(packet.bytes).value();
  policy.admit(request, packet.descriptors.size()).value();
  return operations(policy, request, packet.descriptors);
}

}  // namespace

void serve_requests(int socket, helper_role role, const helper_operations& operations) {
  helper_policy policy(role);
  while (const auto packet = receive(socket)) {
    helper_reply reply;
    helper_outcome outcome;
    try {
      outcome = carry_out(policy, *packet, operations);
      reply.value = outcome.value;
    } catch (...) {
      reply = reply_for(std::current_exception());
    }
    std::vector<int> descriptors;
    if (outcome.descriptor) descriptors.push_back(outcome.descriptor.get());
    if (!send(socket, &reply, sizeof reply, descriptors)) return;
  }
}

root_helper::root_helper(helper_role role, const char* name, const preparation& prepare,
                         const helper_operations& operations) {
  require_one_thread();
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) throw_errno(starting);
  socket_.reset(ends[0]);
  unique_fd helper_end(ends[1]);
  process_ = ::fork();
  if (process_ < 0) throw_errno(starting);
  if (process_ == 0) run_helper(helper_end.get(), role, name, prepare, operations);
  helper_end.reset();
  if (!receive(socket_.get())) throw failure(errc::lost_connection, starting, "it has ended");
}

helper_outcome root_helper::ask(const helper_request& request,
                                const std::vector<int>& descriptors) {
  const std::lock_guard lock(mutex_);
  return exchange(request, descriptors);
}

helper_outcome root_helper::ask(helper_operation operation,
                                const std::array<std::uint64_t, 5>& numbers,
                                const std::vector<int>& descriptors) {
  helper_request request;
  request.operation = operation;
  request.numbers = numbers;
  return ask(request, descriptors);
}

std::optional<helper_outcome> root_helper::try_ask(const helper_request& request,
                                                   const std::vector<int>& descriptors) {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock) return std::nullopt;
  return exchange(request, descriptors);
}

helper_outcome root_helper::exchange(const helper_request& request,
                                     const std::vector<int>& descriptors) {
  const auto action = "ask the root helper to " + to_string(request.operation);
  const auto lose = [&] {
    throw failure(errc::lost_connection, action, "it has ended; restart the server");
  };
  if (!socket_ || !send(socket_.get(), &request, sizeof request, descriptors)) lose();
  std::optional<received_packet> packet;
  helper_reply reply;
  try {
    packet = receive(socket_.get());
    if (!packet) lose();
    reply = decode_helper_reply(packet->bytes).value();
  } catch (...) {
    // The next request must not receive the reply to this one.
    socket_.reset();
    throw;
  }
  if (const auto problem = reply.get_error()) throw failure(*problem);
  helper_outcome out;
  out.value = reply.value;
  if (!packet->descriptors.empty()) out.descriptor = std::move(packet->descriptors.front());
  return out;
}

}  // namespace xenpv::sandbox
