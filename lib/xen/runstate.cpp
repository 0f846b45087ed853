#include "xen/runstate.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstdint>

#include "xen/hypercalls.hpp"

extern "C" {
#include <xen/vcpu.h>
}

namespace xenpv::xen {

vcpu_runstate read_runstate(unsigned vcpu, const system_root& root) {
  const auto operation = fmt::format("read the run state of vCPU {}", vcpu);
  const auto calls = open_calls(root, operation);
  const auto buffer = make_call_buffer<vcpu_runstate_info_t>(calls);
  *buffer = {};
  if (xencall3(calls.get(), __HYPERVISOR_vcpu_op, VCPUOP_get_runstate_info, vcpu,
               reinterpret_cast<std::uintptr_t>(buffer.get())) < 0)
    throw_call_refused(errno, operation);
  const auto time = [&](int state) {
    return std::chrono::nanoseconds(static_cast<std::int64_t>(buffer->time[state]));
  };
  return {.running = time(RUNSTATE_running),
          .runnable = time(RUNSTATE_runnable),
          .blocked = time(RUNSTATE_blocked),
          .offline = time(RUNSTATE_offline)};
}

}  // namespace xenpv::xen
