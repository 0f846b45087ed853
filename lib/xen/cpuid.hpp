// Reads the hypervisor's CPUID leaves (arch-x86/cpuid.h), without privilege: the guest's migration
// count, its time-stamp counter mode and the virtual parts of its APIC. Only on x86, and only for
// the running machine: captures lack these leaves.
#pragma once

#include <cstdint>
#include <optional>

#include "xenpv/base/system_root.hpp"
#include "xenpv/xen/guest.hpp"

namespace xenpv::xen {

struct cpuid_facts {
  std::uint32_t version = 0;  ///< major << 16 | minor
  // Leaf base + 3, time.
  bool tsc_is_emulated = false;
  bool host_tsc_is_safe = false;  ///< synchronised across the host's CPUs
  std::uint32_t tsc_mode = 0;     ///< 0 default, 1 emulate, 2 native
  std::uint32_t incarnation = 0;  ///< grows with each migration and restore
  // Leaf base + 4, features of HVM and PVH guests; false in PV guests.
  bool apic_access_is_virtual = false;  ///< XEN_HVM_CPUID_APIC_ACCESS_VIRT
  bool x2apic_is_virtual = false;       ///< XEN_HVM_CPUID_X2APIC_VIRT
  bool has_upcall_vector = false;       ///< XEN_HVM_CPUID_UPCALL_VECTOR
};

/// nullopt off Xen, off x86, and for a tree that is not this machine's. `type` comes from
/// guest_facts: a PV guest needs another instruction than the others.
[[nodiscard]] std::optional<cpuid_facts> read_cpuid(
    guest_type type, const system_root& root = system_root::from_environment());

/// Reads the incarnation repeatedly; locates its leaf only once.
class incarnation_counter {
 public:
  /// Finds the leaf, as read_cpuid() does.
  explicit incarnation_counter(guest_type type,
                               const system_root& root = system_root::from_environment());

  /// 0 if Xen does not report it. One CPUID, which the hypervisor emulates: about a microsecond.
  /// Any thread.
  [[nodiscard]] std::uint32_t read() const noexcept;

 private:
  bool is_forced_ = false;  ///< use the instruction of PV guests
  std::uint32_t leaf_ = 0;  ///< 0: none
};

}  // namespace xenpv::xen
