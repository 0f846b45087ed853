// What the hypervisor tells a guest in its CPUID leaves (arch-x86/cpuid.h), without privilege: how
// often the guest was migrated, how it gets the time-stamp counter, which parts of the APIC are
// virtual. Only on x86, and only on the machine this runs on: no capture has these.
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
  bool host_tsc_is_safe = false;  ///< in step on all of the host's CPUs
  std::uint32_t tsc_mode = 0;     ///< 0 default, 1 emulate, 2 native
  std::uint32_t incarnation = 0;  ///< grows with each migration and restore
  // Leaf base + 4, features of HVM and PVH guests; false in PV guests.
  bool apic_access_is_virtual = false;  ///< XEN_HVM_CPUID_APIC_ACCESS_VIRT
  bool x2apic_is_virtual = false;       ///< XEN_HVM_CPUID_X2APIC_VIRT
  bool has_upcall_vector = false;       ///< XEN_HVM_CPUID_UPCALL_VECTOR
};

/// nullopt off Xen, off x86, and for a tree that is not this machine's. `type` is what
/// guest_facts says of the machine: a PV guest has to ask in another way than the others.
[[nodiscard]] std::optional<cpuid_facts> read_cpuid(
    guest_type type, const system_root& root = system_root::from_environment());

/// The incarnation alone, for asking again and again: the leaf is found once.
class incarnation_counter {
 public:
  /// Finds the leaf, as read_cpuid() does.
  explicit incarnation_counter(guest_type type,
                               const system_root& root = system_root::from_environment());

  /// 0 where Xen does not tell. One CPUID, which the hypervisor answers: about a microsecond. Any
  /// thread.
  [[nodiscard]] std::uint32_t read() const noexcept;

 private:
  bool is_forced_ = false;  ///< a PV guest's way of asking
  std::uint32_t leaf_ = 0;  ///< 0: none
};

}  // namespace xenpv::xen
