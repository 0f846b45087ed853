#include "doctor/guest_identity.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include "base/words.hpp"
#include "channels/channel_kind.hpp"

namespace xenpv::doctor {
namespace {

using xen::guest_type;

constexpr const char* type_file = "/sys/hypervisor/guest_type";

/// Returns the leading number and removes it.
std::optional<unsigned> take_number(std::string_view& text) {
  const auto end = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto number = parse_whole<unsigned>(text.substr(0, end));
  text.remove_prefix(end);
  return number;
}

/// Returns the first line that starts with `start`.
const std::string* line_starting(const kernel_log& log, std::string_view start) {
  const auto line = std::ranges::find_if(
      log.lines, [&](const std::string& text) { return text.starts_with(start); });
  return line == log.lines.end() ? nullptr : &*line;
}

/// XenLinux names its releases "2.6.16-xenU", "2.6.18-128.el5xen". Its last release was 4.4, and
/// other kernels may have a name that ends in "xen", too.
bool is_xenlinux_release(std::string_view kernel) {
  constexpr release_number first_without{4, 5};
  if (kernel.ends_with("xenU") || kernel.ends_with("xen0")) return true;
  const auto release = parse_release(kernel);
  return kernel.ends_with("xen") && release && *release < first_without;
}

/// Whether the kernel found another hypervisor, or none (init_hypervisor_platform and
/// default_banner in arch/x86).
bool names_another_platform(const kernel_log& log) {
  for (const auto& line : log.lines)
    for (const std::string_view start :
         {"Hypervisor detected: ", "Booting paravirtualized kernel on ", "Booting kernel on "})
      if (line.starts_with(start) &&
          !std::string_view(line).substr(start.size()).starts_with("Xen"))
        return true;
  return false;
}

/// The kernel prints the name of its PV interface: default_banner() in arch/x86/kernel/paravirt.c,
/// xen_banner() in arch/x86/xen, "Booting kernel on" in recent kernels (6.12). init_hvm_pv_info()
/// sets the name of HVM and PVH guests; "with PVH extensions" is the first kind of PVH, which later
/// kernels removed. The platform device of HVM guests announces its protocol
/// (arch/x86/xen/platform-pci-unplug.c).
std::optional<std::pair<guest_type, std::string>> type_in(const kernel_log& log) {
  // x86_hyper_xen_pv in arch/x86/xen/enlighten_pv.c. PVH guests say "Xen HVM".
  if (const auto* detected = log.find("Hypervisor detected: Xen PV"))
    return std::pair(guest_type::pv, *detected);
  const auto* line = log.find("Booting paravirtualized kernel ");
  if (line == nullptr) line = log.find("Booting kernel on ");
  const std::string_view text = line == nullptr ? std::string_view() : trim(*line);
  if (text.ends_with("on Xen PVH") || text.find("with PVH extensions") != std::string_view::npos)
    return std::pair(guest_type::pvh, *line);
  if (text.ends_with("on Xen HVM")) return std::pair(guest_type::hvm, *line);
  if (const auto* platform = log.find("Xen Platform PCI: I/O protocol version"))
    return std::pair(guest_type::hvm, *platform);
  if (text.ends_with("on Xen")) return std::pair(guest_type::pv, *line);
  return std::nullopt;
}

/// Whether only a kernel that runs on Xen prints the line.
bool is_from_xen(std::string_view line) {
  constexpr auto starts =
      std::to_array<std::string_view>({"Hypervisor detected: Xen",
                                       "Xen version",
                                       "Xen HVM callback vector",
                                       "xen:events:",
                                       "xen:grant_table:",
                                       "xen/grant-table:",
                                       "xen:balloon",
                                       "xen/balloon",
                                       "xen-balloon",
                                       "xen_balloon",
                                       "Grant table initialized",
                                       "XENBUS: ",
                                       "xenbus: ",
                                       "blkfront: ",
                                       "blkfront device/",
                                       "xen_netfront: ",
                                       "Initialising Xen virtual ethernet driver",
                                       "installing Xen timer",
                                       "Xen: using vcpuop timer",
                                       "Xen: initializing cpu",
                                       "xen: --> pirq",
                                       "pcifront ",
                                       "Machine model: XENVM"});
  return std::ranges::any_of(starts,
                             [&](std::string_view start) { return line.starts_with(start); }) ||
         (line.starts_with("Xen ") && line.ends_with(" support found")) ||
         parse_device_error(line).has_value();
}

/// Only domains of Xen have the clocksource xen (arch/x86/xen/time.c).
bool names_xen_clock(std::string_view line) {
  return line.find("clocksource") != std::string_view::npos &&
         (line.find("'xen'") != std::string_view::npos || line.ends_with("clocksource xen") ||
          line.starts_with("clocksource: xen:"));
}

bool shows_xen(const kernel_log& log) {
  return std::ranges::any_of(log.lines, [](const std::string& line) {
    return is_from_xen(line) || names_xen_clock(line);
  });
}

/// Only domains of Xen have rows with these chips; HVM guests without PV drivers have none.
bool shows_xen_rows(const channels::raw_facts& facts) {
  return facts.interrupts.value &&
         std::ranges::any_of(facts.interrupts.value->rows, [](const channels::interrupt_row& row) {
           return channels::purpose_of(row).has_value();
         });
}

/// Messages of arch/arm, arch/arm64 and their drivers.
bool is_arm_log(const kernel_log& log) {
  constexpr auto starts =
      std::to_array<std::string_view>({"Booting Linux on physical CPU", "Machine model: XENVM",
                                       "psci: ", "arch_timer: ", "Xen: initializing cpu"});
  return std::ranges::any_of(
      starts, [&](std::string_view start) { return line_starting(log, start) != nullptr; });
}

/// Whether only the name of the release shows the platform, and nothing contradicts it. XenLinux
/// runs only on x86, and its rows of /proc/interrupts are unmistakable.
bool is_xenlinux_by_name(const channels::raw_facts& facts, std::string_view kernel,
                         const kernel_log& log) {
  return is_xenlinux_release(kernel) && !facts.interrupts.value && !is_arm_log(log) &&
         !names_another_platform(log);
}

void find_type(channels::raw_facts& facts, std::string_view kernel, const kernel_log& log,
               guest_identity& out) {
  auto& type = facts.guest.type;
  if (type != guest_type::none && type != guest_type::unknown) {
    out.type_source = {type_file, std::string(to_string(type))};
    return;
  }
  if (const auto found = type_in(log)) {
    type = found->first;
    out.type_source = {"kernel log", found->second};
    return;
  }
  if (facts.interrupts.value && channels::is_xenlinux(*facts.interrupts.value)) {
    type = guest_type::pv;
    out.type_source = {"/proc/interrupts", "rows Dynamic-irq of a XenLinux kernel"};
    return;
  }
  if (is_xenlinux_by_name(facts, kernel, log)) {
    type = guest_type::pv;
    out.type_source = {"Linux release", std::string(kernel) + " is a XenLinux kernel"};
    return;
  }
  if (type == guest_type::unknown) return;
  if (shows_xen_rows(facts) || facts.guest.is_control_domain || shows_xen(log))
    type = guest_type::unknown;
}

bool is_x86_log(const kernel_log& log) {
  constexpr auto starts = std::to_array<std::string_view>(
      {"Hypervisor detected: Xen", "Booting paravirtualized", "Booting kernel on",
       "installing Xen timer", "xen:events: Xen HVM", "Xen HVM callback", "xen: --> pirq",
       "Xen Platform PCI"});
  return std::ranges::any_of(
      starts, [&](std::string_view start) { return line_starting(log, start) != nullptr; });
}

architecture machine_of(const channels::raw_facts& facts, std::string_view kernel,
                        const kernel_log& log) {
  if (facts.guest.type == guest_type::xen_arm) return architecture::arm;
  if (facts.interrupts.value && channels::is_arm(*facts.interrupts.value)) return architecture::arm;
  for (const auto* name : {"arm64", "aarch64", "armmp"})
    if (kernel.find(name) != std::string_view::npos) return architecture::arm;
  if (is_arm_log(log)) return architecture::arm;
  for (const auto* label : {"LOC", "RES", "CAL", "HYP"})
    if (facts.interrupts.value && facts.interrupts.value->find(label) != nullptr)
      return architecture::x86;
  if (facts.guest.type == guest_type::pv || is_x86_log(log)) return architecture::x86;
  for (const auto* name : {"amd64", "x86_64", "686", "i386"})
    if (kernel.find(name) != std::string_view::npos) return architecture::x86;
  return architecture::unknown;
}

/// Frontends publish the ABI of their requests (blkif.h: protocol), which is their kernel's ABI.
std::optional<bool> width_in_store(const channels::raw_facts& facts) {
  if (!facts.store.value) return std::nullopt;
  for (const auto& [path, value] : *facts.store.value) {
    if (!path.starts_with("device/") || !path.ends_with("/protocol")) continue;
    if (value == "x86_64-abi") return true;
    if (value == "x86_32-abi") return false;
  }
  return std::nullopt;
}

std::optional<bool> width_of(const channels::raw_facts& facts, std::string_view kernel) {
  if (const auto width = width_in_store(facts)) return width;
  constexpr auto wide = std::to_array<std::string_view>({"amd64", "x86_64", "arm64", "aarch64"});
  constexpr auto narrow =
      std::to_array<std::string_view>({"i386", "i586", "686", "-pae", ".PAE", "armmp"});
  const auto contains = [&](std::string_view part) {
    return kernel.find(part) != std::string_view::npos;
  };
  if (std::ranges::any_of(wide, contains)) return true;
  if (std::ranges::any_of(narrow, contains)) return false;
  return std::nullopt;
}

/// PV: "Xen version: 4.4.3 (preserve-AD)", which omits part of the version if Xen does. HVM: "Xen
/// version 4.2.". ARM: "Xen 4.16 support found" (fdt_find_hyper_node in arch/arm/xen/enlighten.c).
void find_versions(channels::raw_facts& facts, std::string& kernel, const kernel_log& log) {
  constexpr std::string_view release = "Linux version ";
  if (const auto* line = log.find(release); kernel.empty() && line != nullptr) {
    auto rest = std::string_view(*line).substr(line->find(release) + release.size());
    kernel = std::string(next_word(rest).value_or(""));
  }
  if (facts.guest.xen_version) return;
  std::string_view version = "Xen version";
  const auto* line = log.find(version);
  if (line == nullptr) {
    version = "Xen ";
    line = log.find(" support found");
    if (line == nullptr || !line->starts_with(version)) return;
  }
  auto rest = std::string_view(*line).substr(line->find(version) + version.size());
  if (rest.starts_with(':')) rest.remove_prefix(1);
  auto word = next_word(rest).value_or("");
  if (word.ends_with('.')) word.remove_suffix(1);
  if (parse_release(word)) facts.guest.xen_version = std::string(word);
}

/// The process that serves xenstore runs in domain 0; a Linux domain for it alone is rare.
bool serves_xenstore(const channels::raw_facts& facts) {
  return facts.interrupts.value &&
         std::ranges::any_of(facts.interrupts.value->rows, [](const channels::interrupt_row& row) {
           return std::ranges::any_of(row.actions, [](const std::string& action) {
             return action == "evtchn:xenstored" || action == "evtchn:oxenstored";
           });
         });
}

/// A guest's kernel disables ACPI in PV mode (xen_start_kernel in arch/x86/xen/enlighten_pv.c).
/// Only guests have an HVM type, or a device tree from Xen's toolstack. PV disks prove nothing: the
/// toolstack attaches disks to domain 0 to read their boot loader.
bool shows_guest(const channels::raw_facts& facts, std::string_view kernel, const kernel_log& log) {
  return facts.guest.type == guest_type::hvm || kernel.ends_with("xenU") ||
         line_starting(log, "ACPI in unprivileged domain") != nullptr ||
         line_starting(log, "Machine model: XENVM") != nullptr;
}

domain_role role_of(const channels::raw_facts& facts, std::string_view kernel,
                    const kernel_log& log) {
  if (facts.guest.is_control_domain) return domain_role::control_domain;
  return shows_guest(facts, kernel, log) ? domain_role::guest : domain_role::unknown;
}

}  // namespace

std::optional<release_number> parse_release(std::string_view text) {
  const auto major = take_number(text);
  if (!major || !text.starts_with('.')) return std::nullopt;
  text.remove_prefix(1);
  const auto minor = take_number(text);
  if (!minor) return std::nullopt;
  return release_number{*major, *minor};
}

std::vector<unsigned> cpus_in_log(const kernel_log& log) {
  constexpr unsigned most = 4096;
  // "Brought up 2 CPUs", "x86: Booted up 1 node, 1 CPUs", "smp: Brought up 1 node, 4 CPUs".
  for (const auto* verb : {"Brought up ", "Booted up "}) {
    const auto* line = log.find_last(verb);
    if (line == nullptr) continue;
    const auto text = std::string_view(*line);
    const auto end = text.rfind(" CPU");
    if (end == std::string_view::npos || end == 0) continue;
    const auto start = text.rfind(' ', end - 1);
    if (start == std::string_view::npos) continue;
    const auto count = parse_whole<unsigned>(text.substr(start + 1, end - start - 1));
    if (!count || *count == 0 || *count > most) continue;
    std::vector<unsigned> out(*count);
    std::iota(out.begin(), out.end(), 0U);
    return out;
  }
  return {};
}

guest_identity identify_guest(channels::raw_facts& facts, std::string& kernel,
                              const kernel_log& log) {
  guest_identity out;
  find_versions(facts, kernel, log);
  if (facts.guest.is_control_domain) {
    out.role_source = {"/proc/xen/capabilities", "control_d"};
  } else if (serves_xenstore(facts)) {
    facts.guest.is_control_domain = true;
    out.role_source = {"/proc/interrupts", "event channels of xenstored"};
  }
  find_type(facts, kernel, log, out);
  out.machine = machine_of(facts, kernel, log);
  out.is_64_bit = width_of(facts, kernel);
  out.role = role_of(facts, kernel, log);
  return out;
}

}  // namespace xenpv::doctor
