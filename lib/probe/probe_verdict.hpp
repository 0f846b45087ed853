// The verdict on a measurement: whether the times belong to the intended events, according to the
// counts in /proc/interrupts. Each probe evaluates its own counts.
#pragma once

#include <string_view>

#include "base/enum_name.hpp"

namespace xenpv::probe {

enum class probe_verdict {
  verified,    ///< the counts match the expected events
  unverified,  ///< no counts to compare with (see the probe's reason)
  refuted,     ///< the counts do not match: the times belong to other events
  failed,      ///< no result
};
[[nodiscard]] constexpr std::string_view to_string(probe_verdict verdict) noexcept {
  return enum_name<probe_verdict::failed>(verdict, "verified", "unverified", "refuted", "failed");
}
/// True if the times must not be used.
[[nodiscard]] constexpr bool is_bad(probe_verdict verdict) noexcept {
  return verdict == probe_verdict::refuted || verdict == probe_verdict::failed;
}

}  // namespace xenpv::probe
