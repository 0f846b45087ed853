#include "nbd/netlink_socket.hpp"

#include <fmt/format.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

namespace xenpv::nbd {
namespace {

/// Larger than any reply of the families in use.
constexpr std::size_t longest_datagram = std::size_t{32} << 10;

netlink_answer copied(const netlink_message& message) {
  return {message.type, message.command, {message.attributes.begin(), message.attributes.end()}};
}

void await_readable(int fd, std::string_view action) {
  pollfd ready{fd, POLLIN, 0};
  const auto limit = std::chrono::milliseconds(netlink_socket::timeout).count();
  for (;;) {
    const int count = ::poll(&ready, 1, static_cast<int>(limit));
    if (count > 0) return;
    if (count == 0)
      throw failure(make_error_code(errc::timed_out), action,
                    fmt::format("no netlink reply for {} s", netlink_socket::timeout.count()));
    if (errno != EINTR) throw_errno(action);
  }
}

}  // namespace

unique_fd open_generic_netlink() {
  constexpr auto action = "create a generic netlink socket";
  unique_fd out(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC));
  if (!out && (errno == EAFNOSUPPORT || errno == EPROTONOSUPPORT))
    throw failure(make_error_code(errc::not_available), action, "this kernel does not support it");
  if (!out) throw_errno(action);
  // Requests extended ACK messages, without copies of the failed requests. Kernels before 4.12
  // support neither.
  const int enable = 1;
  ::setsockopt(out.get(), SOL_NETLINK, NETLINK_EXT_ACK, &enable, sizeof enable);
  ::setsockopt(out.get(), SOL_NETLINK, NETLINK_CAP_ACK, &enable, sizeof enable);
  return out;
}

bool netlink_socket::join(std::uint32_t group) noexcept {
  const int number = static_cast<int>(group);
  return ::setsockopt(socket_.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &number, sizeof number) ==
         0;
}

/// Receives one datagram from the kernel into received_. On failure, sets `errno` and returns
/// false.
bool netlink_socket::receive(int flags) {
  for (;;) {
    received_.resize(longest_datagram);
    sockaddr_nl sender{};
    socklen_t size = sizeof sender;
    const auto count = ::recvfrom(socket_.get(), received_.data(), received_.size(),
                                  flags | MSG_TRUNC, reinterpret_cast<sockaddr*>(&sender), &size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return false;
    // Any process may send to a netlink socket; only the kernel has port 0.
    if (size >= sizeof sender && sender.nl_family == AF_NETLINK && sender.nl_pid != 0) continue;
    if (static_cast<std::size_t>(count) > received_.size()) {
      errno = EMSGSIZE;
      return false;
    }
    received_.resize(static_cast<std::size_t>(count));
    if (count == 0) errno = ECONNRESET;
    return count > 0;
  }
}

std::optional<netlink_refusal> netlink_socket::ask(const netlink_request& request,
                                                   std::string_view action,
                                                   std::vector<netlink_answer>& answers) {
  const auto bytes = request.bytes();
  while (::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0)
    if (errno != EINTR) throw_errno(action);
  for (;;) {
    await_readable(socket_.get(), action);
    if (!receive(0)) throw_errno(action);
    const auto messages = decode_messages(received_);
    if (!messages)
      throw failure(
          error{messages.error().code, fmt::format("{}: {}", action, messages.error().text)});
    for (const auto& message : *messages) {
      if (message.sequence != request.sequence()) continue;
      if (message.what == netlink_message::kind::acknowledged) return std::nullopt;
      if (message.what == netlink_message::kind::refused)
        return netlink_refusal{message.error, message.why};
      if (message.what == netlink_message::kind::data) answers.push_back(copied(message));
    }
  }
}

std::optional<std::vector<netlink_answer>> netlink_socket::take_notices() {
  std::vector<netlink_answer> out;
  while (receive(MSG_DONTWAIT)) {
    const auto messages = decode_messages(received_);
    if (!messages) continue;
    for (const auto& message : *messages)
      if (message.what == netlink_message::kind::data) out.push_back(copied(message));
  }
  // ENOBUFS means that some notifications were lost, which kernel_attachment tolerates.
  const bool is_over = errno != EAGAIN && errno != ENOBUFS && errno != EMSGSIZE;
  if (is_over && out.empty()) return std::nullopt;
  return out;
}

}  // namespace xenpv::nbd
