#include "xenpv/diag/finding.hpp"

#include <algorithm>

namespace xenpv::diag {

std::string_view to_string(health value) noexcept {
  switch (value) {
    case health::pass:
      return "PASS";
    case health::unknown:
      return "UNKNOWN";
    case health::warn:
      return "WARN";
    case health::fail:
      return "FAIL";
  }
  return "invalid";
}

health worst_of(const std::vector<finding>& rows) noexcept {
  auto worst = health::pass;
  for (const auto& each : rows)
    worst = std::max(worst, each.verdict);
  return worst;
}

}  // namespace xenpv::diag
