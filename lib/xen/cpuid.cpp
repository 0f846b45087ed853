#include "xen/cpuid.hpp"

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

/// XEN_CPUID_FIRST_LEAF, and the positions to which Xen may move its leaves (in Viridian guests).
constexpr std::uint32_t first_leaf = 0x40000000;
constexpr std::uint32_t leaf_step = 0x100;
constexpr std::uint32_t leaf_positions = 256;

registers cpuid(std::uint32_t leaf) {
  registers out;
  asm volatile("cpuid"
               : "=a"(out.eax), "=b"(out.ebx), "=c"(out.ecx), "=d"(out.edx)
               : "0"(leaf), "2"(0));
  return out;
}

/// XEN_EMULATE_PREFIX, "ud2a; .ascii "xen"", makes the hypervisor emulate cpuid in a PV guest. A
/// plain cpuid would not trap there. Outside Xen, the prefix is an illegal instruction.
registers forced_cpuid(std::uint32_t leaf) {
  registers out;
  asm volatile(".byte 0x0f, 0x0b, 0x78, 0x65, 0x6e; cpuid"
               : "=a"(out.eax), "=b"(out.ebx), "=c"(out.ecx), "=d"(out.edx)
               : "0"(leaf), "2"(0));
  return out;
}

bool has_xen_signature(const registers& leaf) {
  std::array<char, 12> signature{};
  std::memcpy(signature.data(), &leaf.ebx, 4);
  std::memcpy(signature.data() + 4, &leaf.ecx, 4);
  std::memcpy(signature.data() + 8, &leaf.edx, 4);
  return std::string_view(signature.data(), signature.size()) == "XenVMMXenVMM";
}

constexpr std::uint32_t time_leaf = 3;      ///< relative to the base
constexpr std::uint32_t features_leaf = 4;  ///< relative to the base

struct leaf_range {
  std::uint32_t base;
  std::uint32_t last;
};

template <class Query>
std::optional<leaf_range> find_leaves(Query query, std::uint32_t positions) {
  for (std::uint32_t position = 0; position < positions; ++position) {
    const auto base = first_leaf + position * leaf_step;
    const auto head = query(base);
    if (has_xen_signature(head) && head.eax >= base + 2) return leaf_range{base, head.eax};
  }
  return std::nullopt;
}

template <class Query>
std::optional<cpuid_facts> read_with(Query query, std::uint32_t positions) {
  const auto leaves = find_leaves(query, positions);
  if (!leaves) return std::nullopt;
  cpuid_facts out{.version = query(leaves->base + 1).eax};
  if (leaves->last >= leaves->base + time_leaf) {
    const auto time = query(leaves->base + time_leaf);
    out.tsc_is_emulated = (time.eax & 1U) != 0;
    out.host_tsc_is_safe = (time.eax & 2U) != 0;
    out.tsc_mode = time.ebx;
    out.incarnation = time.edx;
  }
  if (leaves->last >= leaves->base + features_leaf) {
    const auto features = query(leaves->base + features_leaf).eax;
    out.apic_access_is_virtual = (features & (1U << 0)) != 0;
    out.x2apic_is_virtual = (features & (1U << 1)) != 0;
    out.has_upcall_vector = (features & (1U << 6)) != 0;
  }
  return out;
}

}  // namespace

std::optional<cpuid_facts> read_cpuid(guest_type type, const system_root& root) {
  if (!root.is_real()) return std::nullopt;
  switch (type) {
    case guest_type::pv:
      return read_with(forced_cpuid, 1);
    case guest_type::pvh:
    case guest_type::hvm:
      return read_with(cpuid, leaf_positions);
    case guest_type::none:
    case guest_type::xen_arm:
    case guest_type::unknown:
      break;
  }
  return std::nullopt;
}

incarnation_counter::incarnation_counter(guest_type type, const system_root& root) {
  if (!root.is_real()) return;
  std::optional<leaf_range> leaves;
  is_forced_ = type == guest_type::pv;
  if (is_forced_)
    leaves = find_leaves(forced_cpuid, 1);
  else if (type == guest_type::pvh || type == guest_type::hvm)
    leaves = find_leaves(cpuid, leaf_positions);
  if (leaves && leaves->last >= leaves->base + time_leaf) leaf_ = leaves->base + time_leaf;
}

std::uint32_t incarnation_counter::read() const noexcept {
  if (leaf_ == 0) return 0;
  return is_forced_ ? forced_cpuid(leaf_).edx : cpuid(leaf_).edx;
}

#else

incarnation_counter::incarnation_counter(guest_type, const system_root&) {}

std::uint32_t incarnation_counter::read() const noexcept {
  return 0;
}

std::optional<cpuid_facts> read_cpuid(guest_type, const system_root&) {
  return std::nullopt;
}

#endif

}  // namespace xenpv::xen
