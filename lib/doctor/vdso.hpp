// Tests whether programs read the clock in user space. Times cannot prove it: where the hypervisor
// emulates the time-stamp counter, both ways cost about the same.
#pragma once

#include <optional>

namespace xenpv::doctor {

/// Proves it in a forked child that forbids itself the system call and still reads CLOCK_MONOTONIC.
/// nullopt where this cannot be tried (a kernel without seccomp filters). Needs no privilege.
[[nodiscard]] std::optional<bool> clock_is_read_in_vdso();

}  // namespace xenpv::doctor
