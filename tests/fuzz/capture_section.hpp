// The corpora of some targets include the captures of the unit tests, in which "== PATH" starts the
// content of a file.
#pragma once

#include <string>
#include <string_view>

namespace xenpv::fuzz {

/// Returns the content of a captured file, or the whole input if it is not a capture with that
/// file.
[[nodiscard]] inline std::string_view capture_section(std::string_view input,
                                                      std::string_view path) {
  const auto head = "\n== " + std::string(path) + "\n";
  const auto start = input.find(head);
  if (start == std::string_view::npos) return input;
  const auto content = input.substr(start + head.size());
  return content.substr(0, content.find("\n== "));
}

}  // namespace xenpv::fuzz
