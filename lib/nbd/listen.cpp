#include "xenpv/nbd/listen.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/parse.hpp"

namespace xenpv::nbd {
namespace {

constexpr int backlog = 64;
constexpr int first_inherited = 3;  ///< SD_LISTEN_FDS_START

unique_fd make_socket(int family) {
  unique_fd out(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!out) throw_errno("create a socket");
  return out;
}

sockaddr_un unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    throw failure(errc::invalid_argument, fmt::format("socket {}", path),
                  fmt::format("expected a path of 1 to {} bytes", sizeof address.sun_path - 1));
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

/// Tests whether a connection is refused. Any other result means that the socket is in use, for
/// example by a server that has a full backlog, denies access or uses a different socket type.
bool is_stale(const sockaddr_un& address) {
  const auto probe = make_socket(AF_UNIX);
  ::fcntl(probe.get(), F_SETFL, O_NONBLOCK);
  const int answer =
      ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  return answer != 0 && errno == ECONNREFUSED;
}

/// Removes a bound socket file if a later step fails.
class unfinished_file {
 public:
  explicit unfinished_file(const std::string& path) : path_(&path) {}
  ~unfinished_file() {
    if (path_ != nullptr) ::unlink(path_->c_str());
  }
  unfinished_file(const unfinished_file&) = delete;
  unfinished_file& operator=(const unfinished_file&) = delete;
  void finished() { path_ = nullptr; }

 private:
  const std::string* path_;
};

bool is_listening_stream(int fd) {
  int type = 0;
  int listening = 0;
  socklen_t size = sizeof type;
  return ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM &&
         ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening == 1;
}

}  // namespace

unique_fd listen_unix(const std::string& path, mode_t mode, std::optional<gid_t> group) {
  const auto address = unix_address(path);
  const auto action = fmt::format("listen on {}", path);
  struct stat status {};
  if (::lstat(path.c_str(), &status) == 0) {
    if (!S_ISSOCK(status.st_mode))
      throw failure(std::make_error_code(std::errc::file_exists), action, "it is not a socket");
    if (!is_stale(address))
      throw failure(std::make_error_code(std::errc::address_in_use), action,
                    "another server is listening on it");
    ::unlink(path.c_str());
  }
  auto out = make_socket(AF_UNIX);
  // Deny access to other users until mode and group are set.
  const auto before = ::umask(0177);
  const int bound = ::bind(out.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  ::umask(before);
  if (bound != 0) throw_errno(action);
  unfinished_file guard(path);
  if (group && ::chown(path.c_str(), static_cast<uid_t>(-1), *group) != 0)
    throw_errno(fmt::format("change the group of {} to {}", path, *group));
  if (::chmod(path.c_str(), mode) != 0) throw_errno(fmt::format("set the mode of {}", path));
  if (::listen(out.get(), backlog) != 0) throw_errno(action);
  guard.finished();
  return out;
}

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
      ::listen(out.get(), backlog) == 0)
    return out;
  const int problem = errno;
  out.reset();
  errno = problem;
  return out;
}

std::uint16_t port_number(const unique_fd& socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
    throw_errno("get a socket's port");
  // The port is at the same offset in both address types.
  return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

void set_port(sockaddr& address, std::uint16_t port) {
  reinterpret_cast<sockaddr_in&>(address).sin_port = htons(port);
}
static_assert(offsetof(sockaddr_in, sin_port) == offsetof(sockaddr_in6, sin6_port));

}  // namespace

std::string port_of(const unique_fd& socket) {
  return fmt::format("{}", port_number(socket));
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
    if (!out.empty()) set_port(*entry->ai_addr, port_number(out.front()));
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
