#include "doctor/check_result.hpp"

#include <algorithm>

#include "base/enum_name.hpp"

namespace xenpv::doctor {

std::string_view to_string(health value) noexcept {
  return enum_name<health::fail>(value, "PASS", "UNKNOWN", "WARN", "FAIL");
}

health worst_of(const std::vector<check_result>& results) noexcept {
  auto worst = health::pass;
  for (const auto& result : results)
    worst = std::max(worst, result.verdict);
  return worst;
}

}  // namespace xenpv::doctor
