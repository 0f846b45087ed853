#include "nbd/client_socket.hpp"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cstddef>

#include "base/utf8.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::nbd {
namespace {

constexpr int keepalive_idle = 30;  ///< seconds
constexpr int keepalive_interval = 10;
constexpr int keepalive_count = 3;
static_assert(keepalive_idle + keepalive_interval * keepalive_count == dead_client_limit.count());

void set_option(int socket, int level, int name, int value) noexcept {
  (void)::setsockopt(socket, level, name, &value, sizeof value);
}

}  // namespace

asio::generic::stream_protocol protocol_of(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    throw_errno("adopt a client's socket");
  return {address.ss_family, 0};
}

peer_address peer_of_client(int socket) noexcept {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getpeername(socket, reinterpret_cast<sockaddr*>(&address), &size) == 0)
    return to_peer_address(reinterpret_cast<sockaddr*>(&address), size);
  peer_address out;
  out.kind = peer_address::family::unix_socket;
  return out;
}

std::string listener_name(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return "unknown";
  const auto local = to_peer_address(reinterpret_cast<sockaddr*>(&address), size);
  switch (local.kind) {
    case peer_address::family::ipv4:
    case peer_address::family::ipv6:
      return "tcp " + to_string(local);
    case peer_address::family::unix_socket: {
      const auto& bound = reinterpret_cast<const sockaddr_un&>(address);
      const auto length = size - std::min<std::size_t>(size, offsetof(sockaddr_un, sun_path));
      const std::string_view path(bound.sun_path, length);
      return path.empty() ? "unix" : "unix " + printable(path.substr(0, path.find('\0', 1)));
    }
    case peer_address::family::vsock:
    case peer_address::family::other:
      break;
  }
  return to_string(local);
}

void set_client_options(int socket, std::chrono::nanoseconds progress_limit) noexcept {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return;
  // Allow a 1 MiB batch of replies to be sent in one iteration of the event loop; the default
  // buffer of a Unix socket holds 200 KiB.
  if (address.ss_family == AF_UNIX) set_option(socket, SOL_SOCKET, SO_SNDBUF, 1 << 20);
  if (address.ss_family != AF_INET && address.ss_family != AF_INET6) return;
  // Replies are already gathered; waiting for more would only delay them.
  set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, keepalive_idle);
  set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, keepalive_interval);
  set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, keepalive_count);
  if (progress_limit.count() == 0) return;
  const auto limit = std::max<std::chrono::nanoseconds>(progress_limit, dead_client_limit);
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(limit).count();
  constexpr std::int64_t longest = 24LL * 3600 * 1000;
  set_option(socket, IPPROTO_TCP, TCP_USER_TIMEOUT,
             static_cast<int>(std::min<std::int64_t>(milliseconds, longest)));
}

bool has_unsent(int socket) noexcept {
  int bytes = 0;
  return ::ioctl(socket, TIOCOUTQ, &bytes) == 0 && bytes > 0;
}

void discard_input(int socket) noexcept {
  std::array<std::byte, 16384> bytes;
  for (int i = 0; i < 64; ++i)
    if (::recv(socket, bytes.data(), bytes.size(), MSG_DONTWAIT) <= 0) return;
}

bool has_hung_up(int socket) noexcept {
  pollfd watched{socket, POLLRDHUP, 0};
  return ::poll(&watched, 1, 0) > 0 &&
         (watched.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0;
}

bool is_disconnected(int socket) noexcept {
  pollfd watched{socket, 0, 0};
  return ::poll(&watched, 1, 0) > 0 && (watched.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
}

}  // namespace xenpv::nbd
