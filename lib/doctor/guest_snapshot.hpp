// A guest snapshot: all facts about one guest, live or captured, and the check results derived from
// them. Collecting and checking are separate: run_checks() is pure, so captures and test data are
// checked in the same way as a live guest.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
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

/// The kernel command-line options that checks ask for. Captures contain them.
enum class boot_option { no_vector_callback, no_fifo_events };
inline constexpr auto boot_options =
    std::to_array<std::string_view>({"xen_no_vector_callback", "xen.fifo_events=0"});
[[nodiscard]] constexpr std::string_view to_string(boot_option option) noexcept {
  return boot_options[static_cast<std::size_t>(option)];
}

struct guest_snapshot {
  channels::raw_facts from = {};
  channels::inventory channels = {};
  bool is_capture = false;
  std::string kernel = {};                       ///< kernel release: "6.1.0-56-amd64"
  std::optional<std::string> command_line = {};  ///< kernel command line
  std::vector<unsigned> online = {};             ///< online CPUs
  kernel_log log = {};
  std::optional<xen::cpuid_facts> cpuid = {};
  std::string hypervisor_elsewhere = {};  ///< outside Xen: hypervisor name from CPUID
  probe::clock_facts clock = {};
  std::optional<probe::clock_cost> cost = {};
  std::optional<bool> clock_in_vdso = {};
  std::vector<probe::cpu_time> cpu_times = {};
  /// The state names in /sys/devices/system/cpu/hotplug/states: the steps of CPU bring-up.
  std::optional<std::string> hotplug_states = {};
  grant_use grants = {};
  blkfront_limits blkfront = {};
  std::vector<disk_facts> disks = {};
  std::vector<xenbus_device> devices = {};

  [[nodiscard]] bool on_xen() const noexcept { return from.guest.runs_on_xen(); }
  /// Whether the kernel command line contains the option, with or without a value.
  [[nodiscard]] bool was_booted_with(boot_option option) const;
};

/// Reads all facts, which takes well under a second. Does not throw if a fact is missing or
/// unreadable. Has no side effects except that it briefly shares one page with domain 0
/// (grant_use.hpp).
[[nodiscard]] guest_snapshot take_snapshot(const channels::fact_source& source);

/// Returns all applicable results in the order of row_table(). Outside Xen, runs only the checks
/// that apply to any machine.
[[nodiscard]] std::vector<check_result> run_checks(const guest_snapshot& snapshot);

}  // namespace xenpv::doctor
