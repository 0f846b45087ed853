// A guest snapshot: all facts about one guest, live or captured, and the check results derived from
// them. Collecting and checking are separate: run_checks() is pure, so captures and test data are
// checked in the same way as a live guest.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "channels/inventory.hpp"
#include "channels/raw_facts.hpp"
#include "doctor/check_result.hpp"
#include "doctor/cpu_sample.hpp"
#include "doctor/disk_facts.hpp"
#include "doctor/frontend_facts.hpp"
#include "doctor/grant_use.hpp"
#include "doctor/guest_identity.hpp"
#include "doctor/kernel_log.hpp"
#include "doctor/network_facts.hpp"
#include "doctor/xenbus_devices.hpp"
#include "probe/clock_cost.hpp"
#include "probe/clock_facts.hpp"
#include "xen/cpuid.hpp"

namespace xenpv::doctor {

/// The kernel command-line options that checks ask for. Captures contain them.
enum class boot_option { no_vector_callback, no_fifo_events, unplug_unnecessary };
inline constexpr auto boot_options = std::to_array<std::string_view>(
    {"xen_no_vector_callback", "xen.fifo_events=0", "xen_emul_unplug=unnecessary"});
[[nodiscard]] constexpr std::string_view to_string(boot_option option) noexcept {
  return boot_options[static_cast<std::size_t>(option)];
}

struct guest_snapshot {
  channels::raw_facts from = {};
  channels::inventory channels = {};
  bool is_capture = false;
  bool is_whole_capture = false;  ///< a capture that xenpv-evtchn made; posted files may be cut
  bool is_simulated = false;      ///< a domain of xenpv-sim
  guest_identity identity = {};
  std::string kernel = {};                       ///< kernel release: "6.1.0-56-amd64"
  std::optional<std::string> command_line = {};  ///< kernel command line
  std::vector<unsigned> online = {};             ///< online CPUs
  kernel_log log = {};
  std::optional<xen::cpuid_facts> cpuid = {};
  /// Outside Xen: the hypervisor's name from CPUID; empty on bare metal, unset if unknown.
  std::optional<std::string> hypervisor_elsewhere = {};
  probe::clock_facts clock = {};
  std::optional<probe::clock_cost> cost = {};
  std::optional<bool> clock_in_vdso = {};
  std::vector<probe::cpu_time> cpu_times = {};
  std::optional<cpu_sample> later_times = {};  ///< a second sample; unset in old captures
  std::optional<std::chrono::seconds> uptime = {};
  /// The state names in /sys/devices/system/cpu/hotplug/states: the steps of CPU bring-up.
  std::optional<std::string> hotplug_states = {};
  grant_use grants = {};
  blkfront_limits blkfront = {};
  std::vector<disk_facts> disks = {};
  std::vector<frontend_facts> frontends = {};  ///< all PV devices except disks
  std::vector<network_interface> networks = {};
  std::optional<bool> irqbalance_runs = {};  ///< unset if it is not known
  std::vector<xenbus_device> devices = {};

  [[nodiscard]] bool on_xen() const noexcept { return from.guest.runs_on_xen(); }
  /// Whether the files may be parts, so that an absent row proves nothing.
  [[nodiscard]] bool may_be_excerpt() const noexcept { return is_capture && !is_whole_capture; }
  /// Whether the kernel command line contains the option, with or without a value.
  [[nodiscard]] bool was_booted_with(boot_option option) const;
};

/// Returns this guest if `root` is empty, else the unpacked capture at `root`. A capture that holds
/// only a kernel log or only /proc/stat is accepted. Throws `failure` if `root` is not a capture.
[[nodiscard]] channels::fact_source source_at(const std::string& root);

/// Reads only the facts about the domain and its event channels: members `from`, `channels`,
/// `identity`, `kernel` and `log`. Does not throw if a fact is missing or unreadable.
[[nodiscard]] guest_snapshot take_channel_snapshot(const channels::fact_source& source);

/// Reads all facts. Takes about a second in a live guest, because stolen time is measured over an
/// interval. Does not throw if a fact is missing or unreadable. Has no side effects except that it
/// briefly shares one page with domain 0 (grant_use.hpp).
[[nodiscard]] guest_snapshot take_snapshot(const channels::fact_source& source);

/// Takes the second sample of the CPUs' times again, now, so that the interval covers the time
/// since take_snapshot(). `start` is the time of that call.
void extend_cpu_sample(guest_snapshot& snapshot, const channels::fact_source& source,
                       std::chrono::steady_clock::time_point start);

/// Returns all applicable results in the order of row_table(). Outside Xen, runs only the checks
/// that apply to any machine.
[[nodiscard]] std::vector<check_result> run_checks(const guest_snapshot& snapshot);

}  // namespace xenpv::doctor
