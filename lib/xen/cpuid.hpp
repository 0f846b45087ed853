// Reads the hypervisor's CPUID leaves (arch-x86/cpuid.h), which does not need any privilege: the
// guest's migration count, TSC mode and APIC virtualisation features. Available only on x86 and
// only on the running machine: captures of other machines do not contain these leaves.
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
  bool host_tsc_is_safe = false;  ///< synchronised across all host CPUs
  std::uint32_t tsc_mode = 0;     ///< 0 default, 1 emulate, 2 native
  std::uint32_t incarnation = 0;  ///< incremented by each migration and restore
  // Leaf base + 4, features of HVM and PVH guests; false in PV guests.
  bool apic_access_is_virtual = false;  ///< XEN_HVM_CPUID_APIC_ACCESS_VIRT
  bool x2apic_is_virtual = false;       ///< XEN_HVM_CPUID_X2APIC_VIRT
  bool has_upcall_vector = false;       ///< XEN_HVM_CPUID_UPCALL_VECTOR
};

/// Returns nullopt outside Xen, on architectures other than x86, and if `root` is not the file tree
/// of this machine. `type` comes from guest_facts: PV guests need a different instruction.
[[nodiscard]] std::optional<cpuid_facts> read_cpuid(
    guest_type type, const system_root& root = system_root::from_environment());

/// Reads the incarnation repeatedly, but locates its CPUID leaf only once.
class incarnation_counter {
 public:
  /// Locates the leaf like read_cpuid().
  explicit incarnation_counter(guest_type type,
                               const system_root& root = system_root::from_environment());

  /// Returns 0 if Xen does not report the incarnation. Executes one CPUID instruction, which the
  /// hypervisor emulates in about a microsecond. Can be called from any thread.
  [[nodiscard]] std::uint32_t read() const noexcept;

 private:
  bool is_forced_ = false;  ///< use the instruction for PV guests
  std::uint32_t leaf_ = 0;  ///< 0 if not available
};

}  // namespace xenpv::xen
