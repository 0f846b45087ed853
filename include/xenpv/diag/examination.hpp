// What the doctor looks at: all facts of one guest, live or captured, and the findings made of
// them. Gathering and judging are apart: judge() is pure, so that a captured guest, or one that was
// made up for a test, is judged like the living one.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "xenpv/diag/clock_cost.hpp"
#include "xenpv/diag/clock_facts.hpp"
#include "xenpv/diag/disk_facts.hpp"
#include "xenpv/diag/finding.hpp"
#include "xenpv/diag/grant_use.hpp"
#include "xenpv/diag/inventory.hpp"
#include "xenpv/diag/kernel_log.hpp"
#include "xenpv/diag/readings.hpp"
#include "xenpv/diag/xenbus_devices.hpp"
#include "xenpv/xen/cpuid.hpp"

namespace xenpv::diag {

struct examination {
  readings from = {};
  inventory channels = {};
  bool is_capture = false;
  std::string kernel = {};                       ///< release: "6.1.0-56-amd64"
  std::optional<std::string> command_line = {};  ///< the kernel's
  std::vector<unsigned> online = {};             ///< CPUs
  kernel_log log = {};
  std::optional<xen::cpuid_facts> cpuid = {};
  std::string hypervisor_elsewhere = {};  ///< off Xen: what the processor says it runs on, or empty
  clock_facts clock = {};
  std::optional<clock_cost> cost = {};
  std::optional<bool> clock_in_vdso = {};
  std::vector<cpu_time> cpu_times = {};
  /// Names of /sys/devices/system/cpu/hotplug/states: what the kernel does when a CPU comes up.
  std::optional<std::string> hotplug_states = {};
  grant_use grants = {};
  blkfront_limits blkfront = {};
  std::vector<disk_facts> disks = {};
  std::vector<xenbus_device> devices = {};

  [[nodiscard]] bool on_xen() const noexcept { return from.guest.runs_on_xen(); }
  /// A word of the kernel's command line, alone or with a value: "xen_no_vector_callback".
  [[nodiscard]] bool was_booted_with(std::string_view word) const;
};

/// Reads all, in well under a second. Throws nothing for what a guest lacks or does not let this
/// process see. Changes nothing; shares one page with domain 0 for an instant (grant_use.hpp).
[[nodiscard]] examination examine(const reading_place& place);

/// All findings that apply, in the order in which they are best read: what the guest is, how events
/// come in, time, IPIs, channels, devices, the rest. Off Xen only what holds on any machine.
[[nodiscard]] std::vector<finding> judge(const examination& of);

}  // namespace xenpv::diag
