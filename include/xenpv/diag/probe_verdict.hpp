// What the counts of /proc/interrupts say of a measurement: whether the times are of what they
// claim to be of. Each probe judges its own counts; this is the word for it.
#pragma once

#include <string_view>

namespace xenpv::diag {

enum class probe_verdict {
  verified,    ///< what was counted is what was to happen
  unverified,  ///< nothing to compare with (the probe's reason says why)
  refuted,     ///< counts say otherwise: the times are not of what was asked for
  failed,      ///< no result
};
[[nodiscard]] std::string_view to_string(probe_verdict verdict) noexcept;

}  // namespace xenpv::diag
