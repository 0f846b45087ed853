#include "base/syslog_socket.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <ctime>

namespace xenpv {
namespace {

using std::chrono::milliseconds;

/// RFC 3164's time, such as "Jan  2 03:04:05". Independent of the locale.
std::string timestamp() {
  static constexpr std::array<const char*, 12> months = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  return fmt::format("{} {:2} {:02}:{:02}:{:02}", months.at(static_cast<std::size_t>(local.tm_mon)),
                     local.tm_mday, local.tm_hour, local.tm_min, local.tm_sec);
}

bool wait_writable(int descriptor, milliseconds limit) noexcept {
  pollfd entry{.fd = descriptor, .events = POLLOUT, .revents = 0};
  return ::poll(&entry, 1, static_cast<int>(limit.count())) > 0;
}

bool is_full(int problem) noexcept {
  return problem == EAGAIN || problem == EWOULDBLOCK || problem == ENOBUFS;
}

}  // namespace

syslog_socket::syslog_socket(std::string program, std::string path)
    : program_(std::move(program)), path_(std::move(path)) {
  // Reads the time zone's file now: later, the disk that contains it may be stalled.
  ::tzset();
}

bool syslog_socket::connect() {
  if (socket_) return true;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path_.size() >= sizeof address.sun_path) return false;
  std::memcpy(address.sun_path, path_.data(), path_.size());
  unique_fd fresh(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fresh) return false;
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path_.size() + 1);
  if (::connect(fresh.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0) return false;
  socket_ = std::move(fresh);
  return true;
}

bool syslog_socket::try_send(int severity, std::string_view text, milliseconds limit) {
  const auto datagram = fmt::format("<{}>{} {}[{}]: {}", LOG_DAEMON | severity, timestamp(),
                                    program_, ::getpid(), text);
  bool waited = stalled_;
  for (int attempt = 0; attempt < 3; ++attempt) {
    if (!connect()) return false;
    if (::send(socket_.get(), datagram.data(), datagram.size(), MSG_NOSIGNAL) >= 0) {
      stalled_ = false;
      return true;
    }
    if (!is_full(errno)) {
      // The daemon was restarted.
      socket_.reset();
    } else if (waited || !wait_writable(socket_.get(), limit)) {
      stalled_ = true;
      return false;
    } else {
      waited = true;
    }
  }
  return false;
}

void syslog_socket::send(int severity, std::string_view text, milliseconds limit) noexcept {
  try {
    if (dropped_ > 0) {
      const auto report = fmt::format("{} messages dropped: the log daemon did not read", dropped_);
      if (!try_send(LOG_WARNING, report, limit)) {
        ++dropped_;
        return;
      }
      dropped_ = 0;
    }
    if (!try_send(severity, text, limit)) ++dropped_;
  } catch (const std::exception&) {
    ++dropped_;
  }
}

}  // namespace xenpv
