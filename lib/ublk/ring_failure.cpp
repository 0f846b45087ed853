#include "ublk/ring_failure.hpp"

#include <cerrno>

#include "xenpv/base/error.hpp"

namespace xenpv::ublk {

void check_ring_setup(int code, const char* action) {
  if (code >= 0) return;
  const bool is_forbidden = code == -EPERM || code == -ENOSYS;
  throw_errno(-code, action,
              is_forbidden ? "not available in this kernel or container; see io_uring_disabled in "
                             "/proc/sys/kernel, or use --driver nbd"
                           : "");
}

}  // namespace xenpv::ublk
