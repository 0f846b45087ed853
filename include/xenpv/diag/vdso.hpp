// Whether programs read the clock in user space. Times cannot prove it: where the hypervisor
// emulates the time-stamp counter, both ways cost about the same.
#pragma once

#include <optional>

namespace xenpv::diag {

/// Proven in a forked child that forbids itself the system call and reads CLOCK_MONOTONIC all the
/// same. unset where that cannot be tried (a kernel without seccomp filters). Needs no privilege.
[[nodiscard]] std::optional<bool> clock_is_read_in_vdso();

}  // namespace xenpv::diag
