// Facts that are probed at run time, not read from files, as lines in a capture: the cost of a
// clock read, CPUID values and the platform. Also reads the CPUID signature of other hypervisors.
#pragma once

#include <string>
#include <string_view>

#include "doctor/guest_snapshot.hpp"

namespace xenpv::doctor {

/// Formats "NAME VALUE" lines; omits unknown values.
[[nodiscard]] std::string format_notes(const guest_snapshot& snapshot);
/// Parses "NAME VALUE" lines and stores the values in `out`; skips unknown lines.
void take_notes(std::string_view text, guest_snapshot& out);

/// Returns "KVM", "VMware" or the 12-byte CPUID signature; empty if no hypervisor identifies
/// itself.
[[nodiscard]] std::string hypervisor_signature();

}  // namespace xenpv::doctor
