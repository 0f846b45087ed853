#include "base/output_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <optional>
#include <ostream>

#include "xenpv/base/error.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv {
namespace {

constexpr mode_t readable_by_everyone = 0644;
constexpr mode_t before_umask = 0666;
constexpr mode_t permission_bits = 07777;

/// The file that exists at the path, if any.
struct output_target {
  bool is_new = false;
  bool is_regular = false;
  struct stat status = {};
};

output_target target_at(const std::string& path) {
  output_target out;
  if (::lstat(path.c_str(), &out.status) == 0)
    out.is_regular = S_ISREG(out.status.st_mode);
  else if (errno == ENOENT)
    out.is_new = true;
  else
    throw_errno("write " + path);
  return out;
}

/// Returns an errno value, or 0. Closes the file, which may report a delayed error.
int write_and_close(unique_fd file, std::string_view content) {
  while (!content.empty()) {
    const auto written = ::write(file.get(), content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    content.remove_prefix(static_cast<std::size_t>(written));
  }
  return ::close(file.release()) == 0 || errno == EINTR ? 0 : errno;
}

void write_through(const std::string& path, std::string_view content) {
  unique_fd file(
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOCTTY | O_CLOEXEC, before_umask));
  if (!file) throw_errno("write " + path);
  if (const int error = write_and_close(std::move(file), content); error != 0)
    throw_errno(error, "write " + path);
}

/// Gives the new file the permissions and, for root, the owner of the file that it replaces.
int set_access(int file, const output_target& target, output_access access) {
  if (!target.is_new && ::fchown(file, target.status.st_uid, target.status.st_gid) != 0 &&
      errno != EPERM)
    return errno;
  std::optional<mode_t> mode;
  if (access == output_access::everyone)
    mode = readable_by_everyone;
  else if (!target.is_new)
    mode = target.status.st_mode & permission_bits;
  return !mode || ::fchmod(file, *mode) == 0 ? 0 : errno;
}

void replace(const std::string& path, std::string_view content, const output_target& target,
             output_access access) {
  // The suffix must not be ".prom": node_exporter's textfile collector reads every file with that
  // suffix.
  const auto temporary = fmt::format("{}.{}.new", path, ::getpid());
  // A killed process may have left a file with this name.
  ::unlink(temporary.c_str());
  unique_fd file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                        before_umask));
  if (!file) {
    const int error = errno;
    const bool may_overwrite = error == EACCES || error == EPERM || error == EROFS;
    if (may_overwrite && target.is_regular) return write_through(path, content);
    throw_errno(error, "write " + path);
  }
  int error = set_access(file.get(), target, access);
  if (error == 0) error = write_and_close(std::move(file), content);
  if (error == 0 && std::rename(temporary.c_str(), path.c_str()) != 0) error = errno;
  if (error == 0) return;
  ::unlink(temporary.c_str());
  throw_errno(error, "write " + path);
}

}  // namespace

bool is_standard_output(std::string_view path) noexcept {
  return path == "-";
}

void write_output(const std::string& path, std::string_view content, output_access access,
                  std::ostream& standard_output) {
  if (is_standard_output(path)) {
    standard_output << content;
    return;
  }
  const auto target = target_at(path);
  if (target.is_new || target.is_regular)
    replace(path, content, target, access);
  else
    write_through(path, content);
}

}  // namespace xenpv
