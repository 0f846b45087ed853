// Helpers of the checks that read the kernel log or other files line by line: select and quote.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "doctor/checks.hpp"

namespace xenpv::doctor {

using line_list = std::vector<std::string>;

[[nodiscard]] inline bool contains(std::string_view line, std::string_view part) noexcept {
  return line.find(part) != std::string_view::npos;
}

/// Returns the lines of the log for which `matches` is true, oldest first.
template <class Matches>
[[nodiscard]] line_list lines_with(const guest_snapshot& snapshot, Matches matches) {
  line_list out;
  for (const auto& line : snapshot.log.lines)
    if (matches(std::string_view(line))) out.push_back(line);
  return out;
}

/// Quotes the last lines, which show the current problem, and gives the number of the others.
inline void cite_lines(check_result& result, const line_list& lines,
                       std::string_view source = "kernel log") {
  constexpr std::size_t most_quotes = 4;
  const auto first = lines.size() - std::min(lines.size(), most_quotes);
  for (std::size_t i = first; i < lines.size(); ++i)
    cite(result, source, lines[i]);
  if (first > 0) cite(result, source, counted(first, "more such line"));
}

}  // namespace xenpv::doctor
