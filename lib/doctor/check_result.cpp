#include "doctor/check_result.hpp"

#include <algorithm>
#include <functional>
#include <map>

#include "base/enum_name.hpp"

namespace xenpv::doctor {

std::string_view to_string(health value) noexcept {
  return enum_name<health::fail>(value, "PASS", "UNKNOWN", "WARN", "FAIL");
}

std::vector<result_group> group_results(const std::vector<check_result>& results, bool fold) {
  std::vector<result_group> out;
  std::map<std::string_view, std::size_t> causes;  // the group of each remedy
  for (const auto& result : results) {
    if (fold && result.verdict == health::unknown && !result.remedy.empty()) {
      const auto [cause, is_new] = causes.emplace(result.remedy, out.size());
      if (!is_new) {
        out[cause->second].push_back(&result);
        continue;
      }
    }
    out.push_back({&result});
  }
  std::ranges::stable_sort(out, std::ranges::greater(),
                           [](const result_group& group) { return group.front()->verdict; });
  return out;
}

std::string_view remedy_of(const result_group& group) {
  const auto& remedy = group.front()->remedy;
  for (const auto* result : group)
    if (std::ranges::count(result->evidence, remedy, &quote::value) > 0) return {};
  return remedy;
}

health worst_of(const std::vector<check_result>& results) noexcept {
  auto worst = health::pass;
  for (const auto& result : results)
    worst = std::max(worst, result.verdict);
  return worst;
}

}  // namespace xenpv::doctor
