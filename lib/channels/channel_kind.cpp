#include "channels/channel_kind.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "base/enum_name.hpp"
#include "base/words.hpp"

namespace xenpv::channels {
namespace {

constexpr std::array<std::pair<channel_kind, std::string_view>, 13> kind_names = {{
    {channel_kind::timer, "timer"},
    {channel_kind::ipi, "ipi"},
    {channel_kind::spinlock, "spinlock"},
    {channel_kind::debug, "debug"},
    {channel_kind::pmu, "pmu"},
    {channel_kind::xenbus, "xenbus"},
    {channel_kind::console, "console"},
    {channel_kind::device, "device"},
    {channel_kind::user, "user"},
    {channel_kind::pirq, "pirq"},
    {channel_kind::virq, "virq"},
    {channel_kind::unbound, "unbound"},
    {channel_kind::other, "other"},
}};

/// Names of per-CPU interrupts without the CPU number.
constexpr std::array<std::pair<std::string_view, channel_kind>, 8> per_cpu_names = {{
    {"timer", channel_kind::timer},
    {"resched", channel_kind::ipi},
    {"callfunc", channel_kind::ipi},
    {"callfuncsingle", channel_kind::ipi},
    {"irqwork", channel_kind::ipi},
    {"spinlock", channel_kind::spinlock},
    {"debug", channel_kind::debug},
    {"pmu", channel_kind::pmu},
}};

/// The flow handler of interrupts that XenLinux shares between all CPUs.
constexpr std::string_view percpu_flow = "percpu";

bool is_xenlinux_dynamic(std::string_view chip) {
  return chip == "Dynamic-irq" || chip == "Dynamic";
}
bool is_xenlinux_physical(std::string_view chip) {
  return chip == "Phys-irq" || chip == "Phys";
}

channel_purpose per_cpu_purpose(const interrupt_row& row, const std::string& name) {
  const auto cpu = trailing_number(name);
  const auto stem = std::string_view(name).substr(0, name.find_last_not_of("0123456789") + 1);
  for (const auto& [known_stem, kind] : per_cpu_names)
    if ((cpu || row.handler == percpu_flow) && stem == known_stem)
      return {kind, kind == channel_kind::ipi ? std::string(known_stem) : std::string(), cpu};
  const auto kind = row.handler == "ipi" ? channel_kind::ipi : channel_kind::virq;
  return {kind, kind == channel_kind::ipi ? name : std::string(), cpu};
}

bool is_console(std::string_view name) {
  return name == "hvc_console" || name == "xencons" || name == "console";
}

channel_purpose event_purpose(const std::string& name) {
  constexpr std::string_view user = "evtchn:";
  if (name.starts_with(user)) return {channel_kind::user, name.substr(user.size())};
  // Before Linux 3.4, the name is plain "evtchn".
  if (name == "evtchn") return {channel_kind::user};
  if (name == "xenbus") return {channel_kind::xenbus};
  if (name.empty()) return {channel_kind::other};
  return {channel_kind::device};
}

/// XenLinux has one chip for all channels, so per-CPU channels are found by their names.
channel_purpose xenlinux_purpose(const interrupt_row& row, const std::string& name) {
  if (is_console(name)) return {channel_kind::console};
  auto purpose = per_cpu_purpose(row, name);
  if (purpose.kind != channel_kind::virq || row.handler == percpu_flow) return purpose;
  return event_purpose(name);
}

}  // namespace

std::string_view to_string(channel_kind kind) noexcept {
  for (const auto& [known_kind, name] : kind_names)
    if (known_kind == kind) return name;
  return "other";
}

std::optional<channel_kind> parse_channel_kind(std::string_view text) noexcept {
  for (const auto& [kind, name] : kind_names)
    if (name == text) return kind;
  return std::nullopt;
}

std::optional<channel_purpose> purpose_of(const interrupt_row& row) {
  const auto name = row.actions.empty() ? std::string() : row.actions.front();
  if (is_xenlinux_dynamic(row.chip)) return xenlinux_purpose(row, name);
  if (is_xenlinux_physical(row.chip)) return channel_purpose{channel_kind::pirq};
  if (!row.chip.starts_with("xen-")) return std::nullopt;
  if (row.chip == "xen-pirq") return channel_purpose{channel_kind::pirq};
  // The console VIRQ uses chip xen-percpu on ARM, and xen-dyn in domain 0 on x86.
  if (is_console(name)) return channel_purpose{channel_kind::console};
  if (row.chip == "xen-percpu") return per_cpu_purpose(row, name);
  if (row.handler == "virq" && !name.starts_with("evtchn:"))
    return channel_purpose{channel_kind::virq};
  return event_purpose(name);
}

const interrupt_row* find_row(const interrupt_table& table, const channel_purpose& purpose) {
  for (const auto& row : table.rows)
    if (purpose_of(row) == purpose) return &row;
  return nullptr;
}

bool is_per_cpu(const interrupt_row& row) {
  if (row.chip == "xen-percpu") return true;
  if (!is_xenlinux_dynamic(row.chip)) return false;
  const auto purpose = purpose_of(row);
  return row.handler == percpu_flow || (purpose && purpose->cpu);
}

bool is_xenlinux(const interrupt_table& table) noexcept {
  return std::ranges::any_of(
      table.rows, [](const interrupt_row& row) { return is_xenlinux_dynamic(row.chip); });
}

bool is_arm(const interrupt_table& table) noexcept {
  return std::ranges::any_of(table.rows, [](const interrupt_row& row) {
    return row.chip.starts_with("GIC") || row.label.starts_with("IPI");
  });
}

std::string_view to_string(upcall method) noexcept {
  return enum_name<upcall::per_vcpu>(method, "unknown", "vector", "pci-interrupt", "callback",
                                     "percpu-interrupt", "per-vcpu");
}

upcall upcall_of(const interrupt_table& table, bool is_pv) noexcept {
  if (is_arm(table)) {
    for (const auto& row : table.rows)
      if (row.chip.starts_with("GIC") && std::ranges::count(row.actions, "events") > 0)
        return upcall::percpu_interrupt;
    return upcall::unknown;
  }
  if (is_pv) return upcall::callback;
  const auto* vector = table.find("HYP");
  if (vector != nullptr && vector->total() > 0) return upcall::vector;
  constexpr std::string_view platform = "xen-platform-pci";
  for (const auto& row : table.rows)
    if (std::ranges::count(row.actions, platform) > 0) return upcall::pci_interrupt;
  for (const auto& row : table.rows) {
    const auto purpose = purpose_of(row);
    const bool is_local =
        purpose && purpose->cpu &&
        (purpose->kind == channel_kind::timer || purpose->kind == channel_kind::ipi);
    if (is_local && row.total() > 0) return upcall::per_vcpu;
  }
  return upcall::unknown;
}

std::string_view to_string(event_abi abi) noexcept {
  return abi == event_abi::two_level ? "2-level" : "FIFO";
}

}  // namespace xenpv::channels
