#include "xenpv/base/standard_streams.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace xenpv {
namespace {

/// Opens `number`, which must be the lowest free number. Without O_CLOEXEC: child programs need the
/// standard streams too.
void open_as(int number, int flags) noexcept {
  if (::fcntl(number, F_GETFD) >= 0 || errno != EBADF) return;
  int descriptor = ::open("/dev/null", flags);
  // Without /dev (a chroot): I/O on an O_PATH descriptor also fails with EBADF.
  if (descriptor < 0) descriptor = ::open("/", O_PATH);
  if (descriptor != number) ::_exit(1);
}

}  // namespace

void open_standard_streams() noexcept {
  // Open each stream for the opposite direction, so that I/O on it fails. /dev/null in the right
  // direction would hide the loss of data.
  open_as(STDIN_FILENO, O_WRONLY);
  open_as(STDOUT_FILENO, O_RDONLY);
  open_as(STDERR_FILENO, O_WRONLY);
}

}  // namespace xenpv
