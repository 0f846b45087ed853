// Reports for `xenpv-doctor compare`, and a capture's notes: parsing untrusted text terminates. An
// accepted report round-trips, equals itself, and can be formatted as a page and as metrics.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "doctor/health_change.hpp"
#include "doctor/health_page.hpp"
#include "doctor/health_report.hpp"
#include "doctor/notes.hpp"
#include "doctor/prometheus.hpp"
#include "fuzz/capture_section.hpp"

namespace {

namespace channels = xenpv::channels;
namespace doctor = xenpv::doctor;

void require(bool holds) {
  if (!holds) std::abort();
}

void check_report(const doctor::health_report& report) {
  const auto text = doctor::to_json_text(report);
  const auto again = doctor::parse_report(text);
  require(again && doctor::to_json_text(*again) == text);
  (void)doctor::compare(report, report);
  require(doctor::to_html(report).find("<script") == std::string::npos);
  (void)doctor::to_prometheus(report);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto report = doctor::parse_report(text)) check_report(*report);
  doctor::guest_snapshot snapshot;
  doctor::take_notes(text, snapshot);
  doctor::parse_grant_use(text, snapshot.grants);
  snapshot.log = doctor::parse_kernel_log(xenpv::fuzz::capture_section(text, "/xenpv/kernel-log"));
  doctor::add_kernel_record(snapshot.log, text);
  snapshot.disks = doctor::make_disk_facts(xenpv::system_root("/nonexistent"),
                                           channels::parse_store_listing(text));
  (void)doctor::mask_has_cpu(text);
  snapshot.online = doctor::cpus_in_log(snapshot.log);
  snapshot.identity = doctor::identify_guest(snapshot.from, snapshot.kernel, snapshot.log);
  snapshot.from.guest.type = xenpv::xen::guest_type::pvh;
  for (const auto& row : doctor::run_checks(snapshot))
    require(!row.summary.empty() && !row.evidence.empty());
  return 0;
}
