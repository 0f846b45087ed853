#include "sim/listen.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::sim {
namespace {

sockaddr_un address_of(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const auto& text = path.native();
  if (text.size() >= sizeof address.sun_path)
    throw_errno(ENAMETOOLONG, fmt::format("socket {}", text),
                fmt::format("choose a directory whose socket paths are shorter than {} bytes",
                            sizeof address.sun_path));
  std::memcpy(address.sun_path, text.data(), text.size());
  return address;
}

}  // namespace

unique_fd listen_at(const std::filesystem::path& path, int type, std::optional<uid_t> user) {
  const auto address = address_of(path);
  ::unlink(path.c_str());
  unique_fd socket(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  // The file gets the socket's mode, reduced by the umask: other users cannot connect before a
  // chmod.
  if (!socket || ::fchmod(socket.get(), user ? 0666 : 0600) != 0 ||
      ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      (user && ::chmod(path.c_str(), 0666) != 0) || ::listen(socket.get(), SOMAXCONN) != 0)
    throw_errno(fmt::format("listen at {}", path.string()));
  return socket;
}

unique_fd accept_permitted(int listener, int flags, std::optional<uid_t> user) {
  unique_fd socket(::accept4(listener, nullptr, nullptr, flags | SOCK_CLOEXEC));
  if (!socket) return socket;
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return {};
  if (peer.uid == 0 || peer.uid == ::geteuid() || peer.uid == user) return socket;
  log().warn(
      "simulated host: refused process {} of user {}: the host belongs to user {} "
      "(--allow-user admits another user)",
      peer.pid, peer.uid, ::geteuid());
  return {};
}

void restrict_directory(const std::filesystem::path& directory, std::optional<uid_t> user) {
  if (::chmod(directory.c_str(), user ? 0711 : 0700) != 0)
    throw_errno(fmt::format("set the permissions of {}", directory.string()),
                "choose a directory of your own");
}

unique_fd connect_to(const std::filesystem::path& path, int type) {
  const auto address = address_of(path);
  unique_fd socket(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!socket ||
      ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    throw_errno(fmt::format("connect to {}", path.string()));
  return socket;
}

}  // namespace xenpv::sim
