// Unix sockets: created with no permissions at all; the group and the mode are set through a
// descriptor of the socket's file, never by its name, which another user may have replaced.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "nbd/listen_backlog.hpp"
#include "xenpv/nbd/listen.hpp"

namespace xenpv::nbd {
namespace {

unique_fd make_unix_socket() {
  unique_fd out(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!out) throw_errno("create a socket");
  return out;
}

sockaddr_un unix_address(const std::string& path) {
  const auto refuse = [&](std::string_view why) {
    throw failure(errc::invalid_argument, fmt::format("socket {}", path), why);
  };
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.starts_with('@'))
    refuse(
        "an abstract socket has no permissions, so any local user could connect; use the path of a "
        "file, or ./@NAME for a file of that name");
  if (path.empty() || path.size() >= sizeof address.sun_path)
    refuse(fmt::format("expected a path of 1 to {} bytes", sizeof address.sun_path - 1));
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

/// Tests whether a connection is refused. Any other result means that the socket is in use, for
/// example by a server that has a full backlog, denies access or uses a different socket type.
bool is_stale(const sockaddr_un& address) {
  const auto probe = make_unix_socket();
  ::fcntl(probe.get(), F_SETFL, O_NONBLOCK);
  const int answer =
      ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  return answer != 0 && errno == ECONNREFUSED;
}

void remove_stale(const std::string& path, const sockaddr_un& address, std::string_view action) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return;
  if (!S_ISSOCK(status.st_mode))
    throw failure(std::make_error_code(std::errc::file_exists), action, "it is not a socket");
  if (!is_stale(address))
    throw failure(std::make_error_code(std::errc::address_in_use), action,
                  "another server is listening on it");
  ::unlink(path.c_str());
}

/// The file of a socket that this process has just bound, with no permissions. Removed by the
/// destructor, unless finished.
class bound_file {
 public:
  bound_file(const std::string& path, std::string_view action) : path_(path) {
    file_.reset(::open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!file_ || ::fstat(file_.get(), &status_) != 0) throw_errno(std::string(action));
    // Another user who may write in the directory can rename files in it. A socket of this user
    // without any permissions and with a single name can only be the new one.
    const bool is_ours = S_ISSOCK(status_.st_mode) && (status_.st_mode & 07777U) == 0 &&
                         status_.st_nlink == 1 && status_.st_uid == ::geteuid();
    if (!is_ours) {
      file_.reset();
      throw failure(
          std::make_error_code(std::errc::operation_not_permitted), action,
          "another process replaced the new socket; choose a directory in which only this "
          "user can write");
    }
  }
  ~bound_file() {
    if (file_ && is_in_place()) ::unlink(path_.c_str());
  }
  bound_file(const bound_file&) = delete;
  bound_file& operator=(const bound_file&) = delete;

  void set_group(gid_t group) const {
    if (::fchownat(file_.get(), "", static_cast<uid_t>(-1), group, AT_EMPTY_PATH) != 0)
      throw_errno(fmt::format("change the group of {} to {}", path_, group));
  }
  void set_mode(mode_t mode) const {
    // fchmod(2) does not accept an O_PATH descriptor; the link in /proc leads to the same file.
    const auto link = fmt::format("/proc/self/fd/{}", file_.get());
    if (::chmod(link.c_str(), mode) != 0) throw_errno(fmt::format("set the mode of {}", path_));
  }
  void finished() { file_.reset(); }

 private:
  [[nodiscard]] bool is_in_place() const {
    struct stat now {};
    return ::lstat(path_.c_str(), &now) == 0 && now.st_dev == status_.st_dev &&
           now.st_ino == status_.st_ino;
  }

  const std::string& path_;
  unique_fd file_;
  struct stat status_ {};
};

}  // namespace

unique_fd listen_unix(const std::string& path, mode_t mode, std::optional<gid_t> group) {
  const auto address = unix_address(path);
  const auto action = fmt::format("listen on {}", path);
  remove_stale(path, address, action);
  auto out = make_unix_socket();
  // Linux gives the file the socket's mode, reduced by the umask: no client can connect until the
  // group is set. Unlike a changed umask, this does not affect other threads.
  if (::fchmod(out.get(), 0) != 0) throw_errno(action);
  // Does not follow a symbolic link: if the name exists, bind(2) fails.
  if (::bind(out.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    throw_errno(action);
  bound_file file(path, action);
  if (group) file.set_group(*group);
  // Clients cannot connect yet, because the mode is still 0.
  if (::listen(out.get(), listen_backlog) != 0) throw_errno(action);
  file.set_mode(mode);
  file.finished();
  return out;
}

}  // namespace xenpv::nbd
