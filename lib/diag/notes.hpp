// What examining tries out instead of reading, as lines of a capture: the cost of the clock and
// what CPUID says. And the word a foreign hypervisor gives itself.
#pragma once

#include <string>
#include <string_view>

#include "xenpv/diag/examination.hpp"

namespace xenpv::diag {

/// "NAME VALUE" lines; what is not known is left out.
[[nodiscard]] std::string format_notes(const examination& of);
/// Fills in what the lines say; unknown ones are skipped.
void take_notes(std::string_view text, examination& out);

/// "KVM", "VMware", or the twelve bytes themselves; empty where no hypervisor shows itself.
[[nodiscard]] std::string hypervisor_signature();

}  // namespace xenpv::diag
