#include "base/prometheus_text.hpp"

#include <fmt/format.h>

namespace xenpv {
namespace {

std::string_view type_name(metric_type type) {
  switch (type) {
    case metric_type::counter:
      return "counter";
    case metric_type::gauge:
      return "gauge";
    case metric_type::buckets:
      return "histogram";
  }
  return "untyped";
}

/// Escapes backslashes and newlines, and the characters in `more`.
std::string escape_metric_text(std::string_view text, std::string_view more) {
  std::string out;
  out.reserve(text.size());
  for (const char character : text) {
    if (character == '\n') {
      out += "\\n";
      continue;
    }
    if (character == '\\' || more.find(character) != std::string_view::npos) out += '\\';
    out += character;
  }
  return out;
}

}  // namespace

void add_metric_header(std::string& out, std::string_view name, metric_type type,
                       std::string_view help) {
  out += fmt::format("# HELP {0} {1}\n# TYPE {0} {2}\n", name, escape_metric_text(help, {}),
                     type_name(type));
}

std::string metric_label(std::string_view name, std::string_view value) {
  return fmt::format("{}=\"{}\"", name, escape_metric_text(value, "\""));
}

std::string metric_seconds(std::uint64_t nanoseconds) {
  constexpr std::uint64_t second = 1'000'000'000;
  auto out = fmt::format("{}.{:09}", nanoseconds / second, nanoseconds % second);
  out.erase(out.find_last_not_of('0') + 1);
  if (out.back() == '.') out.pop_back();
  return out;
}

}  // namespace xenpv
