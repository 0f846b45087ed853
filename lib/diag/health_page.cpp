#include "xenpv/diag/health_page.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "diag/health_page_parts.hpp"
#include "diag/health_page_style.hpp"
#include "diag/markup.hpp"

namespace xenpv::diag {
namespace {

const char* class_of(health verdict) {
  switch (verdict) {
    case health::pass:
      return "pass";
    case health::unknown:
      return "unknown";
    case health::warn:
      return "warn";
    case health::fail:
      break;
  }
  return "fail";
}

std::string guest_text(const health_report& report) {
  const auto& guest = report.guest;
  if (guest.type == "none") return "not a Xen domain";
  return fmt::format("{}{} on Xen {}", guest.type,
                     guest.control_domain ? " control domain" : " guest",
                     guest.xen_version.empty() ? "of an unknown version" : guest.xen_version);
}

std::string tally(const std::vector<finding>& findings) {
  constexpr std::array order = {health::fail, health::warn, health::unknown, health::pass};
  std::string out = "<ul class=\"tally\">";
  for (const auto verdict : order) {
    const auto count =
        std::count_if(findings.begin(), findings.end(),
                      [verdict](const finding& each) { return each.verdict == verdict; });
    if (count > 0)
      out +=
          fmt::format("<li class=\"{}\">{} {}</li>", class_of(verdict), count, to_string(verdict));
  }
  return out + "</ul>\n";
}

std::string header(const health_report& report) {
  std::string facts;
  const auto add = [&](std::string_view name, const std::string& value) {
    if (!value.empty())
      facts += fmt::format("{}{} {}", facts.empty() ? "" : " &middot; ", name, escaped(value));
  };
  add("Linux", report.guest.kernel);
  add("upcall", report.guest.upcall);
  add("events", report.guest.event_abi);
  add("clock", report.guest.clocksource);
  add("timer", report.guest.clockevent);
  return fmt::format(
      "<header><h1>{}</h1><p class=\"soft\">{}</p><p class=\"soft\">{}</p>{}</header>\n",
      escaped(guest_text(report)), facts, escaped(report.time), tally(report.findings));
}

std::string row(const finding& of) {
  auto out = fmt::format(
      "<article class=\"row {}\" id=\"{}\"><div class=\"name\"><b>{}</b> <code>{}</code></div>"
      "<div class=\"body\"><p>{}</p>",
      class_of(of.verdict), escaped(of.id), to_string(of.verdict), escaped(of.id),
      escaped(of.summary));
  if (!of.cure.empty()) out += fmt::format("<p class=\"cure\">{}</p>", escaped(of.cure));
  if (!of.evidence.empty()) {
    const bool is_bad = of.verdict == health::warn || of.verdict == health::fail;
    out += fmt::format("<details{}><summary>evidence</summary><dl>", is_bad ? " open" : "");
    for (const auto& each : of.evidence)
      out += fmt::format("<dt>{}</dt><dd>{}</dd>", escaped(each.source), escaped(each.value));
    out += "</dl></details>";
  }
  return out + "</div></article>\n";
}

/// Bad news first; in the order of the report where verdicts are equal.
std::string rows(std::vector<finding> findings) {
  std::stable_sort(findings.begin(), findings.end(),
                   [](const finding& a, const finding& b) { return a.verdict > b.verdict; });
  std::string out = "<section><h2>Checks</h2>\n";
  for (const auto& each : findings)
    out += row(each);
  return out + "</section>\n";
}

}  // namespace

std::string to_html(const health_report& report) {
  auto out = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n"
      "<title>{} &middot; xenpv-doctor</title>\n<style>{}</style></head>\n<body><main>\n",
      escaped(guest_text(report)), page_style);
  out += header(report) + rows(report.findings) + balance_section(report.events);
  if (report.measured) out += timer_section(*report.measured) + ipi_section(*report.measured);
  return out +
         "<footer class=\"soft\">made by xenpv-doctor; rows quote what was read, as it was "
         "read</footer>\n</main></body></html>\n";
}

}  // namespace xenpv::diag
