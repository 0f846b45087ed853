// The seccomp filter of intercepted processes. It selects the system calls that may concern a
// simulated file; the kernel sends these to the supervisor (SECCOMP_RET_USER_NOTIF) and executes
// all others at once. A filter sees numbers, not memory or descriptors, so calls that take a path
// are always selected.
#pragma once

#include <linux/filter.h>

#include <vector>

#include "xenpv/base/unique_fd.hpp"

namespace xenpv::sim::intercept {

/// The descriptor numbers that the supervisor gives to /dev/xen/evtchn in the intercepted
/// processes. The filter recognises writes to evtchn by them. They are the highest numbers below
/// the limit and below FD_SETSIZE, so processes rarely use them for other files.
struct descriptor_range {
  unsigned first = 0;
  unsigned end = 0;
};

/// Chooses the range for processes with the resource limits of this process.
[[nodiscard]] descriptor_range choose_evtchn_range() noexcept;

[[nodiscard]] std::vector<sock_filter> make_filter(const descriptor_range& evtchn);

/// Installs the filter in this thread and its future children, and sets no_new_privs. Returns the
/// listener, or no descriptor with errno set (EBUSY: another supervisor intercepts this thread).
[[nodiscard]] unique_fd install_filter(const descriptor_range& evtchn) noexcept;

}  // namespace xenpv::sim::intercept
