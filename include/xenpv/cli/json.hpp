// JSON output: one document a run, keys in the order they were added, its schema named first so
// that scripts can tell when it changes. Values are the caller's part.
#pragma once

#include <iosfwd>
#include <nlohmann/json.hpp>
#include <string_view>

namespace xenpv::cli {

using json = nlohmann::ordered_json;

/// {"schema": "xenpv-sim.status", "schema_version": 1}; add the data to it. The version grows when
/// a key changes its meaning or goes away, not when one is added.
[[nodiscard]] json json_document(std::string_view schema, int schema_version);

/// Indented, with a newline at the end. Bytes that are not UTF-8 become U+FFFD: output is always
/// valid.
void print_json(std::ostream& out, const json& document);

}  // namespace xenpv::cli
