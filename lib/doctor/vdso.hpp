// Tests whether programs read the clock in user space. Timing cannot prove this: if the hypervisor
// emulates the time-stamp counter, reading the clock in user space costs about as much as a system
// call.
#pragma once

#include <optional>

namespace xenpv::doctor {

/// Forks a child that blocks the system call for itself and then reads CLOCK_MONOTONIC. Returns
/// nullopt if the system call cannot be blocked (a kernel without seccomp filters). Requires no
/// privileges.
[[nodiscard]] std::optional<bool> clock_is_read_in_vdso();

}  // namespace xenpv::doctor
