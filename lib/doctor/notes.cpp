#include "doctor/notes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

#include "base/words.hpp"

namespace xenpv::doctor {
namespace {

using number = std::uint64_t;

/// The only note with a text, which may be empty: bare metal.
constexpr std::string_view hypervisor_note = "hypervisor";

/// Writes one CPUID value per line.
void format_cpuid(const xen::cpuid_facts& cpuid, std::string& out) {
  out += fmt::format("cpuid.version {}\n", cpuid.version);
  out += fmt::format("cpuid.tsc_is_emulated {}\n", number{cpuid.tsc_is_emulated});
  out += fmt::format("cpuid.host_tsc_is_safe {}\n", number{cpuid.host_tsc_is_safe});
  out += fmt::format("cpuid.tsc_mode {}\n", cpuid.tsc_mode);
  out += fmt::format("cpuid.incarnation {}\n", cpuid.incarnation);
  out += fmt::format("cpuid.apic_access_is_virtual {}\n", number{cpuid.apic_access_is_virtual});
  out += fmt::format("cpuid.x2apic_is_virtual {}\n", number{cpuid.x2apic_is_virtual});
  out += fmt::format("cpuid.has_upcall_vector {}\n", number{cpuid.has_upcall_vector});
}

void take_cpuid(std::string_view name, number value, xen::cpuid_facts& out) {
  const auto small = static_cast<std::uint32_t>(std::min<number>(value, 0xFFFFFFFF));
  if (name == "version") out.version = small;
  if (name == "tsc_is_emulated") out.tsc_is_emulated = value != 0;
  if (name == "host_tsc_is_safe") out.host_tsc_is_safe = value != 0;
  if (name == "tsc_mode") out.tsc_mode = small;
  if (name == "incarnation") out.incarnation = small;
  if (name == "apic_access_is_virtual") out.apic_access_is_virtual = value != 0;
  if (name == "x2apic_is_virtual") out.x2apic_is_virtual = value != 0;
  if (name == "has_upcall_vector") out.has_upcall_vector = value != 0;
}

void take_note(std::string_view name, number value, guest_snapshot& out) {
  constexpr std::string_view cpuid = "cpuid.";
  constexpr number longest = 1'000'000'000;
  const std::chrono::nanoseconds time{static_cast<std::int64_t>(std::min(value, longest))};
  if (name.starts_with(cpuid)) {
    if (!out.cpuid) out.cpuid.emplace();
    take_cpuid(name.substr(cpuid.size()), value, *out.cpuid);
  } else if (name == "clock.read_ns") {
    if (!out.cost) out.cost.emplace();
    out.cost->read = time;
  } else if (name == "clock.system_call_ns") {
    if (!out.cost) out.cost.emplace();
    out.cost->system_call = time;
  } else if (name == "clock.vdso") {
    out.clock_in_vdso = value != 0;
  } else if (name == "kernel.is_64_bit") {
    out.identity.is_64_bit = value != 0;
  } else if (name == "irqbalance.runs") {
    out.irqbalance_runs = value != 0;
  } else if (name == "simulated") {
    out.is_simulated = value != 0;
  }
}

}  // namespace

std::string format_notes(const guest_snapshot& snapshot) {
  std::string out;
  if (snapshot.cpuid) format_cpuid(*snapshot.cpuid, out);
  if (snapshot.cost)
    out += fmt::format("clock.read_ns {}\nclock.system_call_ns {}\n", snapshot.cost->read.count(),
                       snapshot.cost->system_call.count());
  if (snapshot.clock_in_vdso)
    out += fmt::format("clock.vdso {}\n", number{*snapshot.clock_in_vdso});
  if (snapshot.identity.is_64_bit)
    out += fmt::format("kernel.is_64_bit {}\n", number{*snapshot.identity.is_64_bit});
  if (snapshot.irqbalance_runs)
    out += fmt::format("irqbalance.runs {}\n", number{*snapshot.irqbalance_runs});
  if (snapshot.is_simulated) out += "simulated 1\n";
  if (snapshot.hypervisor_elsewhere)
    out += fmt::format("{} {}\n", hypervisor_note, *snapshot.hypervisor_elsewhere);
  return out;
}

void take_notes(std::string_view text, guest_snapshot& out) {
  while (!text.empty()) {
    auto line = next_line(text);
    const auto name = next_word(line);
    if (name == hypervisor_note) out.hypervisor_elsewhere = std::string(trim(line));
    const auto word = next_word(line);
    const auto value = word ? parse_whole<number>(*word) : std::nullopt;
    if (name && value) take_note(*name, *value, out);
  }
}

std::string hypervisor_signature() {
#if defined(__x86_64__) || defined(__i386__)
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  constexpr unsigned hypervisor_bit = 1U << 31;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || (ecx & hypervisor_bit) == 0) return {};
  __cpuid(0x40000000, eax, ebx, ecx, edx);
  std::array<char, 13> bytes{};
  std::memcpy(bytes.data(), &ebx, 4);
  std::memcpy(bytes.data() + 4, &ecx, 4);
  std::memcpy(bytes.data() + 8, &edx, 4);
  const std::string_view signature(bytes.data());
  if (signature == "KVMKVMKVM") return "KVM";
  if (signature == "VMwareVMware") return "VMware";
  if (signature == "Microsoft Hv") return "Hyper-V";
  if (signature == "XenVMMXenVMM") return "Xen, but the kernel has no Xen support";
  std::string out;
  for (const char character : signature)
    if (character > ' ' && character < 0x7F) out += character;
  return out.empty() ? "an unidentified hypervisor" : out;
#else
  return {};
#endif
}

}  // namespace xenpv::doctor
