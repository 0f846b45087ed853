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

#include "xenpv/base/parse.hpp"

namespace xenpv::nbd {
namespace {

constexpr int backlog = 64;
constexpr int first_inherited = 3;  ///< SD_LISTEN_FDS_START

unique_fd make_socket(int family) {
  unique_fd out(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!out) throw_errno("make a socket");
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

/// Anything but a plain refusal means that somebody has it: a server whose queue of clients is
/// full, one that we may not talk to, a socket of another kind.
bool is_stale(const sockaddr_un& address) {
  const auto probe = make_socket(AF_UNIX);
  ::fcntl(probe.get(), F_SETFL, O_NONBLOCK);
  const int answer =
      ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  return answer != 0 && errno == ECONNREFUSED;
}

/// What was bound there is nobody's if the rest fails.
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
  const auto what = fmt::format("listen on {}", path);
  struct stat found {};
  if (::lstat(path.c_str(), &found) == 0) {
    if (!S_ISSOCK(found.st_mode))
      throw failure(std::make_error_code(std::errc::file_exists), what, "it is no socket");
    if (!is_stale(address))
      throw failure(std::make_error_code(std::errc::address_in_use), what,
                    "another server listens there");
    ::unlink(path.c_str());
  }
  auto out = make_socket(AF_UNIX);
  // Closed to all until mode and group are as wanted.
  const auto before = ::umask(0177);
  const int bound = ::bind(out.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  ::umask(before);
  if (bound != 0) throw_errno(what);
  unfinished_file ours(path);
  if (group && ::chown(path.c_str(), static_cast<uid_t>(-1), *group) != 0)
    throw_errno(fmt::format("give {} to group {}", path, *group));
  if (::chmod(path.c_str(), mode) != 0) throw_errno(fmt::format("set the mode of {}", path));
  if (::listen(out.get(), backlog) != 0) throw_errno(what);
  ours.finished();
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

/// None, and errno, if that does not work.
unique_fd listen_at(const addrinfo& where) {
  unique_fd out(::socket(where.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!out) return out;
  const int on = 1;
  ::setsockopt(out.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  // Each family has its own socket, whatever the system's default is.
  if (where.ai_family == AF_INET6)
    ::setsockopt(out.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (::bind(out.get(), where.ai_addr, where.ai_addrlen) == 0 && ::listen(out.get(), backlog) == 0)
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
    throw_errno("ask for a socket's port");
  // In one place in the addresses of both families.
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
  const auto what = fmt::format("listen on {}:{}", address.host, address.port);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int code = ::getaddrinfo(address.host.empty() ? nullptr : address.host.c_str(),
                                 address.port.c_str(), &hints, &list);
  if (code != 0) throw failure(make_error_code(errc::invalid_argument), what, ::gai_strerror(code));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(list, ::freeaddrinfo);
  std::vector<unique_fd> out;
  int absent = 0;
  for (const auto* each = list; each != nullptr; each = each->ai_next) {
    if (!out.empty()) set_port(*each->ai_addr, port_number(out.front()));
    auto socket = listen_at(*each);
    if (socket)
      out.push_back(std::move(socket));
    else if (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL)
      absent = errno;  // names have IPv6 addresses also where the machine has no IPv6
    else
      throw_errno(what);
  }
  if (out.empty()) throw_errno(absent, what);
  return out;
}

std::vector<unique_fd> inherited_listeners() {
  const char* const pid = std::getenv("LISTEN_PID");
  const char* const count = std::getenv("LISTEN_FDS");
  std::vector<unique_fd> out;
  if (pid == nullptr || count == nullptr) return out;
  const auto ours = parse_unsigned(pid, "LISTEN_PID");
  const auto number = parse_unsigned(count, "LISTEN_FDS", 0, 64);
  if (!ours || !number || *ours != static_cast<std::uint64_t>(::getpid())) return out;
  for (int fd = first_inherited; fd < first_inherited + static_cast<int>(*number); ++fd) {
    if (!is_listening_stream(fd))
      throw failure(errc::invalid_argument, fmt::format("take descriptor {} of LISTEN_FDS", fd),
                    "it is no stream socket that listens");
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    out.emplace_back(fd);
  }
  for (const auto* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"})
    ::unsetenv(name);
  return out;
}

}  // namespace xenpv::nbd
