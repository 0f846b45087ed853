#include "cli/service_manager.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "base/parse.hpp"

namespace xenpv::cli {
namespace {

constexpr std::uint64_t longest_watchdog = 1'000'000'000'000;  ///< microseconds (over eleven days)

}  // namespace

void notify_service_manager(std::string_view assignments) noexcept {
  const char* const path = std::getenv("NOTIFY_SOCKET");
  if (path == nullptr || (path[0] != '/' && path[0] != '@')) return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const auto length = std::strlen(path);
  if (length >= sizeof address.sun_path) return;
  std::memcpy(address.sun_path, path, length);
  // A leading @ stands for the NUL byte that starts an abstract address.
  if (path[0] == '@') address.sun_path[0] = '\0';
  const int socket = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return;
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  [[maybe_unused]] const auto sent =
      ::sendto(socket, assignments.data(), assignments.size(), MSG_NOSIGNAL,
               reinterpret_cast<const sockaddr*>(&address), size);
  ::close(socket);
}

std::optional<std::chrono::microseconds> watchdog_interval() {
  const char* const limit = std::getenv("WATCHDOG_USEC");
  if (limit == nullptr) return std::nullopt;
  const auto parsed = parse_unsigned(limit, "WATCHDOG_USEC", 2, longest_watchdog);
  if (!parsed) return std::nullopt;
  if (const char* const pid = std::getenv("WATCHDOG_PID")) {
    const auto watched = parse_unsigned(pid, "WATCHDOG_PID");
    if (!watched || *watched != static_cast<std::uint64_t>(::getpid())) return std::nullopt;
  }
  return std::chrono::microseconds(*parsed / 2);
}

}  // namespace xenpv::cli
