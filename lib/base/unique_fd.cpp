#include "xenpv/base/unique_fd.hpp"

#include <fcntl.h>

#include <fmt/format.h>

#include "xenpv/base/error.hpp"

namespace xenpv {

unique_fd unique_fd::duplicate(int fd) {
  const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) throw_errno(fmt::format("duplicate file descriptor {}", fd));
  return unique_fd(copy);
}

}  // namespace xenpv
