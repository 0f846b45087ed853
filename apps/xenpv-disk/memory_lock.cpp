#include "memory_lock.hpp"

#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <limits>

#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::disk_app {
namespace {

constexpr std::size_t thread_stack = std::size_t{512} << 10U;

}  // namespace

void prepare_for_swap() {
  // Keep freed memory in the process: no trimming, and no separate mapping for each large block.
  ::mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  ::mallopt(M_MMAP_MAX, 0);
  // A locked stack occupies its full size.
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setstacksize(&attributes, thread_stack);
  ::pthread_setattr_default_np(&attributes);
  ::pthread_attr_destroy(&attributes);
  if (::mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
    throw_errno("lock the server's memory (--swap)",
                "run as root, or raise the limit: ulimit -l, LimitMEMLOCK=infinity");
  if (::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) != 0) {
    if (errno == EINVAL)
      log().warn(
          "--swap: this kernel has no PR_SET_IO_FLUSHER (Linux 5.6): heavy writeback may deadlock");
    else
      throw_errno("serve I/O for the kernel (--swap)", "it needs CAP_SYS_RESOURCE");
  }
  const unique_fd file(::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC));
  if (!file || ::write(file.get(), "-1000", 5) != 5)
    log().warn("--swap: cannot protect the server from the OOM killer: {}", describe_errno(errno));
}

}  // namespace xenpv::disk_app
