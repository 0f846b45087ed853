#include "xenpv/xen/cpuid.hpp"

#include <array>
#include <cstring>
#include <string_view>

namespace xenpv::xen {

#if defined(__x86_64__) || defined(__i386__)
namespace {

struct registers {
  std::uint32_t eax = 0;
  std::uint32_t ebx = 0;
  std::uint32_t ecx = 0;
  std::uint32_t edx = 0;
};

/// XEN_CPUID_FIRST_LEAF, and where Xen may have moved it (viridian guests).
constexpr std::uint32_t first_leaf = 0x40000000;
constexpr std::uint32_t leaf_step = 0x100;
constexpr std::uint32_t leaf_places = 256;

registers cpuid(std::uint32_t leaf) {
  registers out;
  asm volatile("cpuid"
               : "=a"(out.eax), "=b"(out.ebx), "=c"(out.ecx), "=d"(out.edx)
               : "0"(leaf), "2"(0));
  return out;
}

/// XEN_EMULATE_PREFIX, "ud2a; .ascii "xen"", has the hypervisor answer in a PV guest, whose own
/// cpuid reaches the processor. Off Xen it is an illegal instruction.
registers forced_cpuid(std::uint32_t leaf) {
  registers out;
  asm volatile(".byte 0x0f, 0x0b, 0x78, 0x65, 0x6e; cpuid"
               : "=a"(out.eax), "=b"(out.ebx), "=c"(out.ecx), "=d"(out.edx)
               : "0"(leaf), "2"(0));
  return out;
}

bool is_xens(const registers& leaf) {
  std::array<char, 12> signature{};
  std::memcpy(signature.data(), &leaf.ebx, 4);
  std::memcpy(signature.data() + 4, &leaf.ecx, 4);
  std::memcpy(signature.data() + 8, &leaf.edx, 4);
  return std::string_view(signature.data(), signature.size()) == "XenVMMXenVMM";
}

template <class Ask>
std::optional<cpuid_facts> read_with(Ask ask, std::uint32_t places) {
  for (std::uint32_t place = 0; place < places; ++place) {
    const auto base = first_leaf + place * leaf_step;
    const auto head = ask(base);
    if (!is_xens(head) || head.eax < base + 2) continue;
    cpuid_facts out{.version = ask(base + 1).eax};
    if (head.eax >= base + 3) {
      const auto time = ask(base + 3);
      out.tsc_is_emulated = (time.eax & 1U) != 0;
      out.host_tsc_is_safe = (time.eax & 2U) != 0;
      out.tsc_mode = time.ebx;
      out.incarnation = time.edx;
    }
    if (head.eax >= base + 4) {
      const auto features = ask(base + 4).eax;
      out.apic_access_is_virtual = (features & (1U << 0)) != 0;
      out.x2apic_is_virtual = (features & (1U << 1)) != 0;
      out.has_upcall_vector = (features & (1U << 6)) != 0;
    }
    return out;
  }
  return std::nullopt;
}

}  // namespace

std::optional<cpuid_facts> read_cpuid(guest_type type, const system_root& root) {
  if (!root.is_real()) return std::nullopt;
  switch (type) {
    case guest_type::pv:
      return read_with(forced_cpuid, 1);
    case guest_type::pvh:
    case guest_type::hvm:
      return read_with(cpuid, leaf_places);
    case guest_type::none:
    case guest_type::xen_arm:
    case guest_type::unknown:
      break;
  }
  return std::nullopt;
}

#else

std::optional<cpuid_facts> read_cpuid(guest_type, const system_root&) {
  return std::nullopt;
}

#endif

}  // namespace xenpv::xen
