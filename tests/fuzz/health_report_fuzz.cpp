// Reports that `xenpv-doctor compare` reads, and a capture's notes: whatever somebody wrote,
// reading ends, and what is accepted is written again as it was read, compares with itself without
// a change, and makes a page and metrics.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "diag/notes.hpp"
#include "xenpv/diag/health_change.hpp"
#include "xenpv/diag/health_page.hpp"
#include "xenpv/diag/health_report.hpp"
#include "xenpv/diag/prometheus.hpp"

namespace {

namespace diag = xenpv::diag;

void require(bool holds) {
  if (!holds) std::abort();
}

void check_report(const diag::health_report& report) {
  const auto text = diag::to_json_text(report);
  const auto again = diag::parse_report(text);
  require(again && diag::to_json_text(*again) == text);
  (void)diag::compare(report, report);
  require(diag::to_html(report).find("<script") == std::string::npos);
  (void)diag::to_prometheus(report);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto report = diag::parse_report(text)) check_report(*report);
  diag::examination of;
  diag::take_notes(text, of);
  diag::parse_grant_use(text, of.grants);
  of.log = diag::parse_kernel_log(text);
  diag::add_kernel_record(of.log, text);
  of.disks =
      diag::make_disk_facts(xenpv::system_root("/nonexistent"), diag::parse_store_listing(text));
  of.from.guest.type = xenpv::xen::guest_type::pvh;
  for (const auto& each : diag::judge(of))
    require(!each.summary.empty() && !each.evidence.empty());
  return 0;
}
