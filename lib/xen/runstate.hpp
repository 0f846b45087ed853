// Reads from the hypervisor (VCPUOP_get_runstate_info) how long a vCPU has spent in each run state,
// with nanosecond resolution; /proc/stat reports steal time only in ticks of 10 ms. Needs
// hypercalls from user space, like port_status.hpp. Does not touch the runstate area that the
// kernel has registered with Xen.
#pragma once

#include <chrono>

#include "xenpv/base/system_root.hpp"

namespace xenpv::xen {

/// Times since the domain was created.
struct vcpu_runstate {
  std::chrono::nanoseconds running{};   ///< on a physical CPU
  std::chrono::nanoseconds runnable{};  ///< waiting for a physical CPU
  std::chrono::nanoseconds blocked{};   ///< idle
  std::chrono::nanoseconds offline{};   ///< paused or not online

  friend vcpu_runstate operator-(const vcpu_runstate& a, const vcpu_runstate& b) noexcept {
    return {a.running - b.running, a.runnable - b.runnable, a.blocked - b.blocked,
            a.offline - b.offline};
  }
};

/// Returns the times of vCPU `vcpu` of this domain. On x86, vCPU numbers equal Linux CPU numbers.
/// Throws `failure` with errc::not_available where hypercalls are forbidden.
[[nodiscard]] vcpu_runstate read_runstate(
    unsigned vcpu, const system_root& root = system_root::from_environment());

}  // namespace xenpv::xen
