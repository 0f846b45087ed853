// What the hypervisor says a vCPU did with its time (VCPUOP_get_runstate_info): to the nanosecond
// what /proc/stat calls steal in ticks of 10 ms. Needs hypercalls from user space, as
// port_status.hpp does. Leaves the area alone that the kernel registered for itself.
#pragma once

#include <chrono>

#include "xenpv/base/system_root.hpp"

namespace xenpv::xen {

/// Since the domain was made.
struct vcpu_runstate {
  std::chrono::nanoseconds running{};   ///< on a physical CPU
  std::chrono::nanoseconds runnable{};  ///< wanted one, and another vCPU had it
  std::chrono::nanoseconds blocked{};   ///< idle
  std::chrono::nanoseconds offline{};   ///< paused, or not brought up

  friend vcpu_runstate operator-(const vcpu_runstate& a, const vcpu_runstate& b) noexcept {
    return {a.running - b.running, a.runnable - b.runnable, a.blocked - b.blocked,
            a.offline - b.offline};
  }
};

/// Of this domain's vCPU `vcpu`, which on x86 is Linux' number of the CPU. Throws `failure` with
/// errc::not_available where hypercalls are shut.
[[nodiscard]] vcpu_runstate read_runstate(
    unsigned vcpu, const system_root& root = system_root::from_environment());

}  // namespace xenpv::xen
