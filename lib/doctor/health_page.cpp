#include "doctor/health_page.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/enum_name.hpp"
#include "doctor/health_page_parts.hpp"
#include "doctor/health_page_style.hpp"
#include "probe/markup.hpp"

namespace xenpv::doctor {
namespace {

/// Returns the CSS class of the verdict.
std::string_view class_of(health verdict) {
  return enum_name<health::fail>(verdict, "pass", "unknown", "warn", "fail");
}

std::string guest_text(const health_report& report) {
  const auto& guest = report.guest;
  if (guest.type == "none") return "not a Xen domain";
  return fmt::format("{}{} on Xen {}", guest.type,
                     guest.control_domain ? " control domain" : " guest",
                     guest.xen_version.empty() ? "(unknown version)" : guest.xen_version);
}

std::string tally(const std::vector<check_result>& results) {
  constexpr std::array order = {health::fail, health::warn, health::unknown, health::pass};
  std::string out = "<ul class=\"tally\">";
  for (const auto verdict : order) {
    const auto count = std::ranges::count(results, verdict, &check_result::verdict);
    if (count > 0)
      out +=
          fmt::format("<li class=\"{}\">{} {}</li>", class_of(verdict), count, to_string(verdict));
  }
  return out + "</ul>\n";
}

/// The heading: the guest's name, if it is known, then its type.
std::string title(const health_report& report) {
  const auto type = guest_text(report);
  if (report.guest.name.empty()) return fmt::format("<h1>{}</h1>", probe::escaped(type));
  return fmt::format("<h1>{}</h1><p class=\"type\">{}</p>", probe::escaped(report.guest.name),
                     probe::escaped(type));
}

std::string header(const health_report& report) {
  std::string facts;
  const auto add = [&](std::string_view name, const std::string& value) {
    if (!value.empty())
      facts +=
          fmt::format("{}{} {}", facts.empty() ? "" : " &middot; ", name, probe::escaped(value));
  };
  add("Linux", report.guest.kernel);
  add("upcall", report.guest.upcall);
  add("events", report.guest.event_abi);
  add("clock", report.guest.clocksource);
  add("timer", report.guest.clockevent);
  return fmt::format("<header>{}<p class=\"soft\">{}</p><p class=\"soft\">{}</p>{}</header>\n",
                     title(report), facts, probe::escaped(report.time),
                     tally(report.check_results));
}

std::string remedy_text(std::string_view remedy) {
  if (remedy.empty()) return {};
  return fmt::format("<span class=\"cure\">{}</span>", probe::escaped(remedy));
}

std::string row(const check_result& result, std::string_view remedy) {
  auto out = fmt::format(
      "<article class=\"row {}\" id=\"{}\"><div class=\"name\"><b>{}</b> <code>{}</code></div>"
      "<div class=\"body\"><p>{}</p>{}",
      class_of(result.verdict), probe::escaped(result.id), to_string(result.verdict),
      probe::escaped(result.id), probe::escaped(result.summary), remedy_text(remedy));
  if (!result.evidence.empty()) {
    const bool is_bad = result.verdict == health::warn || result.verdict == health::fail;
    out += fmt::format("<details{}><summary>evidence</summary><dl>", is_bad ? " open" : "");
    for (const auto& entry : result.evidence)
      out += fmt::format("<dt>{}</dt><dd>{}</dd>", probe::escaped(entry.source),
                         probe::escaped(entry.value));
    out += "</dl></details>";
  }
  return out + "</div></article>\n";
}

/// Collapses rows that could not be determined; their common remedy stays visible.
std::string folded(const result_group& group) {
  std::string ids;
  std::string rows;
  for (const auto* result : group) {
    ids += (ids.empty() ? "" : ", ") + result->id;
    rows += row(*result, {});
  }
  const auto title = group.size() == 1
                         ? fmt::format("{}: {}", ids, group.front()->summary)
                         : fmt::format("{} checks could not be made: {}", group.size(), ids);
  return fmt::format("<details class=\"fold unknown\"><summary>{}{}</summary>{}</details>\n",
                     probe::escaped(title), remedy_text(remedy_of(group)), rows);
}

/// Renders the rows from worst to best verdict; rows with equal verdicts keep the report's order.
std::string rows(const std::vector<check_result>& results) {
  std::string out = "<section><h2>Checks</h2>\n";
  for (const auto& group : group_results(results, true))
    out += group.front()->verdict == health::unknown ? folded(group)
                                                     : row(*group.front(), remedy_of(group));
  return out + "</section>\n";
}

}  // namespace

std::string to_html(const health_report& report) {
  auto out = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n"
      "<title>{} &middot; xenpv-doctor</title>\n<style>{}</style></head>\n<body><main>\n",
      report.guest.name.empty()
          ? probe::escaped(guest_text(report))
          : probe::escaped(fmt::format("{}: {}", report.guest.name, guest_text(report))),
      page_style);
  out += header(report) + rows(report.check_results) + balance_section(report.events);
  if (report.measured) out += timer_section(*report.measured) + ipi_section(*report.measured);
  return out +
         "<footer class=\"soft\">generated by xenpv-doctor; evidence is quoted as it was "
         "read</footer>\n</main></body></html>\n";
}

}  // namespace xenpv::doctor
