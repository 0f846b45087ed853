#include "doctor/check_result.hpp"

#include <algorithm>

namespace xenpv::doctor {

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

health worst_of(const std::vector<check_result>& results) noexcept {
  auto worst = health::pass;
  for (const auto& result : results)
    worst = std::max(worst, result.verdict);
  return worst;
}

}  // namespace xenpv::doctor
