#include "sim/listen.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "xenpv/base/error.hpp"

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

unique_fd listen_at(const std::filesystem::path& path, int type) {
  const auto address = address_of(path);
  ::unlink(path.c_str());
  unique_fd socket(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  if (!socket ||
      ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(socket.get(), SOMAXCONN) != 0)
    throw_errno(fmt::format("listen at {}", path.string()));
  return socket;
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
