#include "cli/json.hpp"

#include <ostream>

#include "base/utf8.hpp"

namespace xenpv::cli {

json json_document(std::string_view schema, int schema_version) {
  json document;
  document["schema"] = schema;
  document["schema_version"] = schema_version;
  return document;
}

void print_json(std::ostream& out, const json& document) {
  out << printable_json(document.dump(2, ' ', false, json::error_handler_t::replace)) << '\n';
}

}  // namespace xenpv::cli
