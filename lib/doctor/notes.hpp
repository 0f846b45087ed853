// Facts that are tried out instead of read, as lines of a capture: the cost of the clock and the
// values of CPUID. Also the signature of another hypervisor.
#pragma once

#include <string>
#include <string_view>

#include "doctor/guest_snapshot.hpp"

namespace xenpv::doctor {

/// "NAME VALUE" lines; unknown values are left out.
[[nodiscard]] std::string format_notes(const guest_snapshot& snapshot);
/// Stores the values of the lines in `out`; unknown lines are skipped.
void take_notes(std::string_view text, guest_snapshot& out);

/// "KVM", "VMware", or the twelve bytes of the signature; empty where no hypervisor is visible.
[[nodiscard]] std::string hypervisor_signature();

}  // namespace xenpv::doctor
