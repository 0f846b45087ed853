#include "sim/intercept/path_calls.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "sim/guest/device_paths.hpp"
#include "sim/intercept/process_memory.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::sim::intercept {
namespace {

using guest::path_kind;

/// True for calls without a directory descriptor.
bool is_old_variant(int number) {
#ifdef SYS_open
  return number == SYS_open || number == SYS_stat || number == SYS_lstat || number == SYS_access;
#else
  (void)number;
  return false;
#endif
}

/// A replaced path, and the arguments after it.
struct replaced_call {
  system_call& call;
  guest::device_path found;
  std::string path;
  std::size_t next;

  [[nodiscard]] std::uint64_t argument(std::size_t index) const {
    return call.argument(next + index);
  }
  [[nodiscard]] int int_argument(std::size_t index) const {
    return call.int_argument(next + index);
  }
};

/// Returns the flags of an opening call, or nothing with errno set.
std::optional<int> flags_of(const replaced_call& opening) {
  if (opening.call.number() != SYS_openat2) return opening.int_argument(0);
  const auto how = read_object<open_how>(opening.call.thread(), opening.argument(0));
  if (!how) return std::nullopt;
  return static_cast<int>(how->flags);
}

void open_file(replaced_call& opening, device_calls& devices) {
  auto& call = opening.call;
  const auto flags = flags_of(opening);
  if (!flags) {
    call.fail(errno);
    return;
  }
  if (opening.found.kind == path_kind::device) {
    devices.open(call, opening.found.device, *flags);
    return;
  }
  const unique_fd file(guest::open_path(opening.found, opening.path.c_str(), *flags | O_CLOEXEC));
  if (file)
    call.return_descriptor(file.get(), (*flags & O_CLOEXEC) != 0);
  else
    call.fail(errno);
}

/// Copies the result of a call to its argument `index`.
template <class Facts>
void return_facts(const replaced_call& query, std::size_t index, const Facts& facts) {
  query.call.return_result(
      write_memory(query.call.thread(), query.argument(index), &facts, sizeof facts) ? 0 : -1);
}

int stat_flags(const replaced_call& query) {
#ifdef SYS_stat
  if (query.call.number() == SYS_stat) return 0;
  if (query.call.number() == SYS_lstat) return AT_SYMLINK_NOFOLLOW;
#endif
  return query.int_argument(1) & AT_SYMLINK_NOFOLLOW;
}

void stat_file(const replaced_call& query) {
  struct stat facts {};
  const auto path = guest::simulated_path(query.path);
  if (::fstatat(AT_FDCWD, path.c_str(), &facts, stat_flags(query)) != 0) {
    query.call.fail(errno);
    return;
  }
  if (guest::is_device(query.found)) {
    facts.st_mode = guest::device_mode(facts.st_mode);
    facts.st_rdev = guest::device_number(query.found.device);
  }
  return_facts(query, 0, facts);
}

void statx_file(const replaced_call& query) {
  struct statx facts {};
  const auto path = guest::simulated_path(query.path);
  if (::statx(AT_FDCWD, path.c_str(), query.int_argument(0),
              static_cast<unsigned>(query.int_argument(1)), &facts) != 0) {
    query.call.fail(errno);
    return;
  }
  if (guest::is_device(query.found)) {
    facts.stx_mode = static_cast<__u16>(guest::device_mode(facts.stx_mode));
    facts.stx_rdev_major = ::gnu_dev_major(guest::device_number(query.found.device));
    facts.stx_rdev_minor = ::gnu_dev_minor(guest::device_number(query.found.device));
  }
  return_facts(query, 2, facts);
}

void check_access(const replaced_call& query) {
  const int flags = query.call.number() == SYS_faccessat2 ? query.int_argument(1) : 0;
  const auto path = guest::simulated_path(query.path);
  query.call.return_result(::faccessat(AT_FDCWD, path.c_str(), query.int_argument(0), flags));
}

}  // namespace

std::optional<std::string> path_calls::path_of(const system_call& call) {
  auto path = read_path(call.thread(), call.argument(is_old_variant(call.number()) ? 0 : 1));
  if (!path && errno == EPERM && !warned_) {
    warned_ = true;
    log().warn(
        "process {}: cannot read its memory, so its system calls are not intercepted "
        "(set kernel.yama.ptrace_scope to 0 or 1)",
        call.thread());
  }
  return path;
}

void path_calls::answer(system_call& call) {
  auto path = path_of(call);
  const auto found = path ? guest::find_path(path->c_str()) : guest::device_path{};
  if (found.kind == path_kind::other) {
    // The kernel reports an invalid address.
    call.run_natively();
    return;
  }
  if (!call.is_waiting()) return;
  replaced_call replaced{call, found, std::move(*path), is_old_variant(call.number()) ? 1U : 2U};
  switch (call.number()) {
#ifdef SYS_open
    case SYS_open:
#endif
    case SYS_openat:
    case SYS_openat2:
      open_file(replaced, devices_);
      return;
#ifdef SYS_stat
    case SYS_stat:
    case SYS_lstat:
#endif
    case SYS_newfstatat:
      stat_file(replaced);
      return;
    case SYS_statx:
      statx_file(replaced);
      return;
    default:
      check_access(replaced);
      return;
  }
}

}  // namespace xenpv::sim::intercept
