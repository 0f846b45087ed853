// Translates a call_policy into a program for the kernel (BPF), by libseccomp. Does not install it.
#pragma once

#include <linux/filter.h>

#include <vector>

#include "sandbox/call_policy.hpp"

namespace xenpv::sandbox {

/// The kernel's action for a call outside the policy.
enum class default_action {
  trap,    ///< raises SIGSYS
  notify,  ///< asks the supervisor
};

/// Compiles `policy` into a seccomp filter. A call of another architecture (32-bit on a 64-bit
/// kernel) ends the process, or is permitted with default_action::notify. Throws `failure`
/// (errc::invalid_argument) if `policy` contains an unknown name or an invalid condition.
[[nodiscard]] std::vector<sock_filter> compile(const call_policy& policy, default_action action);

}  // namespace xenpv::sandbox
