#include "xenpv/nbd/listen.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "base/parse.hpp"
#include "nbd/listen_backlog.hpp"

namespace xenpv::nbd {
namespace {

constexpr int first_inherited = 3;  ///< SD_LISTEN_FDS_START

bool is_listening_stream(int fd) {
  int type = 0;
  int listening = 0;
  socklen_t size = sizeof type;
  return ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM &&
         ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening == 1;
}

}  // namespace

result<tcp_address> parse_tcp_address(std::string_view text) {
  const auto refuse = [&] {
    return make_error(errc::invalid_argument, fmt::format("address '{}'", text),
                      "expected HOST:PORT, [ADDRESS]:PORT or :PORT");
  };
  tcp_address out{"", "10809"};
  auto rest = text;
  if (rest.starts_with('[')) {
    const auto end = rest.find(']');
    if (end == std::string_view::npos) return refuse();
    out.host = rest.substr(1, end - 1);
    rest.remove_prefix(end + 1);
    if (out.host.empty() || (!rest.empty() && !rest.starts_with(':'))) return refuse();
  } else {
    const auto colon = rest.find(':');
    out.host = rest.substr(0, colon);
    rest = colon == std::string_view::npos ? std::string_view{} : rest.substr(colon);
    if (out.host.empty() && rest.empty()) return refuse();
  }
  if (rest.empty()) return out;
  const auto port = parse_unsigned(rest.substr(1), "port", 0, 65535);
  if (!port) return refuse();
  out.port = fmt::format("{}", *port);
  return out;
}

namespace {

/// On failure, returns an empty descriptor and sets errno.
unique_fd listen_at(const addrinfo& address) {
  unique_fd out(::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!out) return out;
  const int enable = 1;
  ::setsockopt(out.get(), SOL_SOCKET, SO_REUSEADDR, &enable, sizeof enable);
  // Each address family has its own socket, regardless of the system default.
  if (address.ai_family == AF_INET6)
    ::setsockopt(out.get(), IPPROTO_IPV6, IPV6_V6ONLY, &enable, sizeof enable);
  if (::bind(out.get(), address.ai_addr, address.ai_addrlen) == 0 &&
      ::listen(out.get(), listen_backlog) == 0)
    return out;
  const int problem = errno;
  out.reset();
  errno = problem;
  return out;
}

/// True if an earlier entry has the same address. /etc/hosts may name an address twice, and so may
/// a name server.
bool is_repeated(const addrinfo& entry, const addrinfo* first) noexcept {
  const auto address = [](const addrinfo& info) {
    auto out = to_peer_address(info.ai_addr, info.ai_addrlen);
    out.port = 0;
    return out;
  };
  for (; first != &entry; first = first->ai_next)
    if (first->ai_family == entry.ai_family && address(*first) == address(entry)) return true;
  return false;
}

void set_port(sockaddr& address, std::uint16_t port) {
  reinterpret_cast<sockaddr_in&>(address).sin_port = htons(port);
}
static_assert(offsetof(sockaddr_in, sin_port) == offsetof(sockaddr_in6, sin6_port));

}  // namespace

peer_address local_address_of(int socket) noexcept {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return {};
  return to_peer_address(reinterpret_cast<const sockaddr*>(&address), size);
}

std::string port_of(const unique_fd& socket) {
  return fmt::format("{}", local_address_of(socket.get()).port);
}

std::vector<unique_fd> listen_tcp(const tcp_address& address) {
  const auto action = fmt::format("listen on {}:{}", address.host, address.port);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int code = ::getaddrinfo(address.host.empty() ? nullptr : address.host.c_str(),
                                 address.port.c_str(), &hints, &list);
  if (code != 0)
    throw failure(make_error_code(errc::invalid_argument), action, ::gai_strerror(code));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(list, ::freeaddrinfo);
  std::vector<unique_fd> out;
  int absent = 0;
  for (const auto* entry = list; entry != nullptr; entry = entry->ai_next) {
    if (is_repeated(*entry, list)) continue;
    if (!out.empty())
      set_port(*entry->ai_addr,
               static_cast<std::uint16_t>(local_address_of(out.front().get()).port));
    auto socket = listen_at(*entry);
    if (socket)
      out.push_back(std::move(socket));
    else if (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL)
      absent = errno;  // a host may have IPv6 addresses that this machine does not support
    else
      throw_errno(action);
  }
  if (out.empty()) throw_errno(absent, action);
  return out;
}

std::vector<unique_fd> inherited_listeners() {
  const char* const pid = std::getenv("LISTEN_PID");
  const char* const count = std::getenv("LISTEN_FDS");
  std::vector<unique_fd> out;
  if (pid == nullptr || count == nullptr) return out;
  const auto expected_pid = parse_unsigned(pid, "LISTEN_PID");
  const auto socket_count = parse_unsigned(count, "LISTEN_FDS", 0, 64);
  if (!expected_pid || !socket_count || *expected_pid != static_cast<std::uint64_t>(::getpid()))
    return out;
  for (int fd = first_inherited; fd < first_inherited + static_cast<int>(*socket_count); ++fd) {
    if (!is_listening_stream(fd))
      throw failure(errc::invalid_argument, fmt::format("use descriptor {} from LISTEN_FDS", fd),
                    "it is not a listening stream socket");
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    out.emplace_back(fd);
  }
  for (const auto* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"})
    ::unsetenv(name);
  return out;
}

}  // namespace xenpv::nbd
