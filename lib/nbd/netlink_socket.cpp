#include "nbd/netlink_socket.hpp"

#include <fmt/format.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

namespace xenpv::nbd {
namespace {

/// More than any answer of the families we ask; what is longer is no answer.
constexpr std::size_t longest_datagram = std::size_t{32} << 10;

netlink_answer copied(const netlink_message& message) {
  return {message.type, message.command, {message.attributes.begin(), message.attributes.end()}};
}

void await_readable(int fd, std::string_view what) {
  pollfd ready{fd, POLLIN, 0};
  const auto limit = std::chrono::milliseconds(netlink_socket::patience).count();
  for (;;) {
    const int count = ::poll(&ready, 1, static_cast<int>(limit));
    if (count > 0) return;
    if (count == 0)
      throw failure(
          make_error_code(errc::timed_out), what,
          fmt::format("no answer over netlink for {} s", netlink_socket::patience.count()));
    if (errno != EINTR) throw_errno(what);
  }
}

}  // namespace

unique_fd open_generic_netlink() {
  constexpr auto what = "make a generic netlink socket";
  unique_fd out(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC));
  if (!out && (errno == EAFNOSUPPORT || errno == EPROTONOSUPPORT))
    throw failure(make_error_code(errc::not_available), what, "this kernel has none");
  if (!out) throw_errno(what);
  // Words with refusals, and without a copy of the request. Kernels before 4.12 have neither.
  const int on = 1;
  ::setsockopt(out.get(), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  ::setsockopt(out.get(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  return out;
}

bool netlink_socket::join(std::uint32_t group) noexcept {
  const int number = static_cast<int>(group);
  return ::setsockopt(socket_.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &number, sizeof number) ==
         0;
}

/// One datagram of the kernel's into received_. false: there is none, with `errno`.
bool netlink_socket::receive(int flags) {
  for (;;) {
    received_.resize(longest_datagram);
    sockaddr_nl from{};
    socklen_t size = sizeof from;
    const auto count = ::recvfrom(socket_.get(), received_.data(), received_.size(),
                                  flags | MSG_TRUNC, reinterpret_cast<sockaddr*>(&from), &size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return false;
    // Any process may send to a netlink socket; the kernel is number 0.
    if (size >= sizeof from && from.nl_family == AF_NETLINK && from.nl_pid != 0) continue;
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
                                                   std::string_view what,
                                                   std::vector<netlink_answer>& answers) {
  const auto bytes = request.bytes();
  while (::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0)
    if (errno != EINTR) throw_errno(what);
  for (;;) {
    await_readable(socket_.get(), what);
    if (!receive(0)) throw_errno(what);
    const auto messages = decode_messages(received_);
    if (!messages)
      throw failure(
          error{messages.error().code, fmt::format("{}: {}", what, messages.error().text)});
    for (const auto& each : *messages) {
      if (each.sequence != request.sequence()) continue;
      if (each.what == netlink_message::kind::acknowledged) return std::nullopt;
      if (each.what == netlink_message::kind::refused) return netlink_refusal{each.error, each.why};
      if (each.what == netlink_message::kind::data) answers.push_back(copied(each));
    }
  }
}

std::optional<std::vector<netlink_answer>> netlink_socket::take_notices() {
  std::vector<netlink_answer> out;
  while (receive(MSG_DONTWAIT)) {
    const auto messages = decode_messages(received_);
    if (!messages) continue;
    for (const auto& each : *messages)
      if (each.what == netlink_message::kind::data) out.push_back(copied(each));
  }
  // ENOBUFS: some were lost. Whoever waits for them has other ways to know (see kernel_attachment).
  const bool is_over = errno != EAGAIN && errno != ENOBUFS && errno != EMSGSIZE;
  if (is_over && out.empty()) return std::nullopt;
  return out;
}

}  // namespace xenpv::nbd
