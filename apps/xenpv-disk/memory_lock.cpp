#include "memory_lock.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "nbd/data_buffer.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::disk_app {
namespace {

constexpr std::size_t thread_stack = std::size_t{512} << 10U;
constexpr const char* oom_score_file = "/proc/self/oom_score_adj";
constexpr std::string_view oom_never = "-1000";

/// The settings of this process before protect_server(), for its children.
struct inherited_settings {
  std::array<char, 8> oom_score{};
  std::size_t oom_score_size = 0;  ///< 0: unchanged
  bool is_flusher = false;         ///< set by protect_server()
  std::optional<rlimit> descriptors;
  std::optional<rlimit> locked_memory;
  std::optional<rlimit> core_size;  ///< hide_keys() sets it to 0
};

inherited_settings& inherited() {
  static inherited_settings settings;
  return settings;
}

void remember_limits() {
  rlimit limit{};
  if (!inherited().core_size && ::getrlimit(RLIMIT_CORE, &limit) == 0)
    inherited().core_size = limit;
  if (!inherited().descriptors && ::getrlimit(RLIMIT_NOFILE, &limit) == 0)
    inherited().descriptors = limit;
}

/// Returns 0 or an errno.
int become_io_flusher() {
  if (inherited().is_flusher) return 0;
  if (::prctl(PR_GET_IO_FLUSHER, 0, 0, 0, 0) == 1) return 0;
  if (::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) != 0) return errno;
  inherited().is_flusher = true;
  return 0;
}

/// Returns 0 or an errno.
int avoid_oom_killer() {
  const unique_fd file(::open(oom_score_file, O_RDWR | O_CLOEXEC));
  if (!file) return errno;
  auto& before = inherited();
  std::array<char, 8> score{};
  const auto size = ::read(file.get(), score.data(), score.size() - 1);
  if (size < 0) return errno;
  if (std::atoi(score.data()) <= -1000) return 0;
  if (::pwrite(file.get(), oom_never.data(), oom_never.size(), 0) < 0) return errno;
  before.oom_score = score;
  before.oom_score_size = static_cast<std::size_t>(size);
  return 0;
}

/// Without CAP_IPC_LOCK, which a server drops, the limit would make later allocations fail.
void unlimit_locked_memory() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return;
  if (!inherited().locked_memory) inherited().locked_memory = limit;
  limit = {RLIM_INFINITY, RLIM_INFINITY};
  ::setrlimit(RLIMIT_MEMLOCK, &limit);
}

void lock_memory() {
  unlimit_locked_memory();
  // Keep freed memory in the process: no trimming, and no separate mapping for each large block.
  ::mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  ::mallopt(M_MMAP_MAX, 0);
  nbd::data_buffer::keep_freed_memory();
  // A locked stack occupies its full size.
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setstacksize(&attributes, thread_stack);
  ::pthread_setattr_default_np(&attributes);
  ::pthread_attr_destroy(&attributes);
  if (::mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
    throw_errno("lock the server's memory (--swap)",
                "run as root, or raise the limit: ulimit -l, LimitMEMLOCK=infinity");
}

/// Reports in one message which settings failed. Both arguments are 0 or an errno.
void report_missing(int flusher, int oom) {
  std::string text;
  if (flusher != 0)
    text = fmt::format("heavy writeback to the disk may deadlock (PR_SET_IO_FLUSHER needs {})",
                       flusher == EINVAL ? "Linux 5.6" : "CAP_SYS_RESOURCE");
  if (oom != 0)
    text += fmt::format("{}the OOM killer may end the server ({}: {})",
                        text.empty() ? "" : ", and ", oom_score_file, describe_errno(oom));
  if (!text.empty()) log().warn("when memory is short, {}", text);
}

}  // namespace

void protect_server(served_for user) {
  remember_limits();
  if (user == served_for::swap) lock_memory();
  const int flusher = become_io_flusher();
  const int oom = avoid_oom_killer();
  if (user == served_for::clients) return;
  // Linux before 5.6 lacks it (EINVAL).
  if (user == served_for::swap && flusher != 0 && flusher != EINVAL)
    throw_errno(flusher, "serve I/O for the kernel (--swap)", "it needs CAP_SYS_RESOURCE");
  report_missing(flusher, oom);
}

void reset_inherited_settings() noexcept {
  const auto& before = inherited();
  if (before.is_flusher) ::prctl(PR_SET_IO_FLUSHER, 0, 0, 0, 0);
  if (before.descriptors) ::setrlimit(RLIMIT_NOFILE, &*before.descriptors);
  // Only root may raise it again.
  if (before.core_size) ::setrlimit(RLIMIT_CORE, &*before.core_size);
  if (before.locked_memory) ::setrlimit(RLIMIT_MEMLOCK, &*before.locked_memory);
  if (before.oom_score_size == 0) return;
  const int file = ::open(oom_score_file, O_WRONLY | O_CLOEXEC);
  if (file < 0) return;
  static_cast<void>(::write(file, before.oom_score.data(), before.oom_score_size));
  ::close(file);
}

}  // namespace xenpv::disk_app
