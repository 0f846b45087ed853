// JSON output: one document per run, with keys in insertion order. The schema comes first, so that
// scripts can detect changes. The caller provides the values.
#pragma once

#include <iosfwd>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace xenpv::cli {

using json = nlohmann::ordered_json;

/// {"schema": "xenpv-sim.status", "schema_version": 1}, to which the caller adds the data. The
/// version increases when a key is removed or changes its meaning, but not when a key is added.
[[nodiscard]] json json_document(std::string_view schema, int schema_version);

/// Indented, with a newline at the end. Invalid UTF-8 becomes U+FFFD, so the output is always
/// valid. Characters that are not visible are escaped, so it is safe for a terminal.
void print_json(std::ostream& out, const json& document);

/// null for an unset value.
template <class T>
[[nodiscard]] json or_null(const std::optional<T>& value) {
  return value ? json(*value) : json();
}

/// null for an empty text.
[[nodiscard]] inline json or_null(const std::string& text) {
  return text.empty() ? json() : json(text);
}

/// Returns an array with the result of `convert` for each element of `range`.
template <class Range, class Convert>
[[nodiscard]] json json_array(const Range& range, Convert convert) {
  json out = json::array();
  for (const auto& element : range)
    out.push_back(convert(element));
  return out;
}

}  // namespace xenpv::cli
