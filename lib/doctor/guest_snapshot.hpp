// A guest snapshot: all facts of one guest, live or captured, and the check results made from them.
// Collecting and checking are separate: run_checks() is pure, so a captured guest, or test data, is
// checked like a live guest.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "channels/inventory.hpp"
#include "channels/raw_facts.hpp"
#include "doctor/check_result.hpp"
#include "doctor/disk_facts.hpp"
#include "doctor/grant_use.hpp"
#include "doctor/kernel_log.hpp"
#include "doctor/xenbus_devices.hpp"
#include "probe/clock_cost.hpp"
#include "probe/clock_facts.hpp"
#include "xen/cpuid.hpp"

namespace xenpv::doctor {

struct guest_snapshot {
  channels::raw_facts from = {};
  channels::inventory channels = {};
  bool is_capture = false;
  std::string kernel = {};                       ///< release: "6.1.0-56-amd64"
  std::optional<std::string> command_line = {};  ///< the kernel's
  std::vector<unsigned> online = {};             ///< CPUs
  kernel_log log = {};
  std::optional<xen::cpuid_facts> cpuid = {};
  std::string hypervisor_elsewhere = {};  ///< off Xen: the hypervisor by CPUID, or empty
  probe::clock_facts clock = {};
  std::optional<probe::clock_cost> cost = {};
  std::optional<bool> clock_in_vdso = {};
  std::vector<probe::cpu_time> cpu_times = {};
  /// Names in /sys/devices/system/cpu/hotplug/states: the steps of the kernel when a CPU comes up.
  std::optional<std::string> hotplug_states = {};
  grant_use grants = {};
  blkfront_limits blkfront = {};
  std::vector<disk_facts> disks = {};
  std::vector<xenbus_device> devices = {};

  [[nodiscard]] bool on_xen() const noexcept { return from.guest.runs_on_xen(); }
  /// True if the kernel's command line has `word`, alone or with a value: "xen_no_vector_callback".
  [[nodiscard]] bool was_booted_with(std::string_view word) const;
};

/// Reads all facts, in well under a second. Does not throw for facts that the guest lacks or hides
/// from this process. Changes nothing; shares one page with domain 0 for an instant
/// (grant_use.hpp).
[[nodiscard]] guest_snapshot take_snapshot(const channels::fact_source& source);

/// All results that apply, in the best order for reading: the guest, event delivery, time, IPIs,
/// channels, devices, the rest. Off Xen only the checks that apply to any machine.
[[nodiscard]] std::vector<check_result> run_checks(const guest_snapshot& snapshot);

}  // namespace xenpv::doctor
