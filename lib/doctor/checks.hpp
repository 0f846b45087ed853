// The doctor's checks. Each function checks one topic of a snapshot and appends its results. Pure.
// row_table.cpp lists them in the order of the report. Shared helpers are at the end.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string>
#include <string_view>
#include <vector>

#include "doctor/guest_snapshot.hpp"

namespace xenpv::doctor {

using check_results = std::vector<check_result>;

void check_domain(const guest_snapshot& snapshot, check_results& out);
void check_upcall(const guest_snapshot& snapshot, check_results& out);
void check_timer(const guest_snapshot& snapshot, check_results& out);
void check_clock(const guest_snapshot& snapshot, check_results& out);
void check_ipis(const guest_snapshot& snapshot, check_results& out);
void check_spread(const guest_snapshot& snapshot, check_results& out);
void check_channels(const guest_snapshot& snapshot, check_results& out);
void check_grants(const guest_snapshot& snapshot, check_results& out);
void check_disks(const guest_snapshot& snapshot, check_results& out);
void check_back_ends(const guest_snapshot& snapshot, check_results& out);
void check_steal(const guest_snapshot& snapshot, check_results& out);
void check_migration(const guest_snapshot& snapshot, check_results& out);
void check_devices(const guest_snapshot& snapshot, check_results& out);
void check_frontends(const guest_snapshot& snapshot, check_results& out);
void check_kernel_log(const guest_snapshot& snapshot, check_results& out);
void check_log_devices(const guest_snapshot& snapshot, check_results& out);
void check_log_crash(const guest_snapshot& snapshot, check_results& out);
void check_log_clock(const guest_snapshot& snapshot, check_results& out);
void check_unparsed(const guest_snapshot& snapshot, check_results& out);

/// Sets the verdict, summary and remedy.
inline void conclude(check_result& result, health verdict, std::string summary,
                     std::string remedy = {}) {
  result.verdict = verdict;
  result.summary = std::move(summary);
  result.remedy = std::move(remedy);
}
inline void cite(check_result& result, std::string_view source, std::string_view value) {
  result.evidence.push_back({.source = std::string(source), .value = std::string(value)});
}
/// Formats the counts of a /proc/interrupts row: "131 0 7". Truncates a long row.
[[nodiscard]] std::string counts_text(const std::vector<std::uint64_t>& counts);
/// Formats a CPU list in kernel format: "0-2,5".
[[nodiscard]] std::string cpus_text(const std::vector<unsigned>& cpus);
/// The same with its noun: "CPU 0", "CPUs 0-2,5".
[[nodiscard]] std::string named_cpus(const std::vector<unsigned>& cpus);
/// Formats a number of things: "1 CPU", "2 CPUs". The plural adds an s.
[[nodiscard]] std::string counted(std::uint64_t count, std::string_view thing);
/// Formats a share, from 0 to 1: "12.5 %".
[[nodiscard]] std::string share_text(double share);
/// Returns the evidence for a file that cannot be read.
[[nodiscard]] inline quote unreadable(std::string source) {
  return {.source = std::move(source), .value = "cannot be read"};
}
/// Appends a row with verdict unknown and the given evidence.
void add_unknown(check_results& out, std::string_view id, std::string_view summary, quote evidence,
                 std::string_view remedy);
/// Returns the remedy for rows that lack /proc/interrupts.
[[nodiscard]] std::string remedy_for_interrupts(const guest_snapshot& snapshot);
/// If /proc/interrupts could not be read, appends an unknown row with the reason and returns true.
[[nodiscard]] bool lacks_interrupts(const guest_snapshot& snapshot, std::string_view id,
                                    std::string_view summary, check_results& out);
/// Returns a row of /proc/interrupts, or nullptr if there is none.
[[nodiscard]] const channels::interrupt_row* row_of(const guest_snapshot& snapshot,
                                                    std::string_view label);
/// Cites the counts of a row of /proc/interrupts, or its absence.
void cite_row(check_result& result, const guest_snapshot& snapshot, std::string_view label);
/// Returns the last kernel log line that contains `part`, or the reason why there is none.
[[nodiscard]] quote log_quote(const kernel_log& log, std::string_view part);

}  // namespace xenpv::doctor
