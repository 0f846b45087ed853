#include "probe/probe_verdict.hpp"

namespace xenpv::probe {

std::string_view to_string(probe_verdict verdict) noexcept {
  switch (verdict) {
    case probe_verdict::verified:
      return "verified";
    case probe_verdict::unverified:
      return "unverified";
    case probe_verdict::refuted:
      return "refuted";
    case probe_verdict::failed:
      return "failed";
  }
  return "invalid";
}

}  // namespace xenpv::probe
