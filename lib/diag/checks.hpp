// The doctor's checks, one topic each: facts in, findings out. Pure. What they have in common is at
// the end; examination.cpp calls them in order.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string>
#include <string_view>
#include <vector>

#include "xenpv/diag/examination.hpp"

namespace xenpv::diag {

using findings = std::vector<finding>;

void check_domain(const examination& of, findings& out);
void check_upcall(const examination& of, findings& out);
void check_timer(const examination& of, findings& out);
void check_clock(const examination& of, findings& out);
void check_ipis(const examination& of, findings& out);
void check_spread(const examination& of, findings& out);
void check_channels(const examination& of, findings& out);
void check_grants(const examination& of, findings& out);
void check_disks(const examination& of, findings& out);
void check_back_ends(const examination& of, findings& out);
void check_steal(const examination& of, findings& out);
void check_migration(const examination& of, findings& out);
void check_devices(const examination& of, findings& out);

inline void cite(finding& found, std::string_view source, std::string_view value) {
  found.evidence.push_back({.source = std::string(source), .value = std::string(value)});
}
/// "131 0 7": the counts of a row of /proc/interrupts; the first few of very many.
[[nodiscard]] std::string counts_text(const std::vector<std::uint64_t>& counts);
/// "0-2,5": CPUs as the kernel writes lists of them.
[[nodiscard]] std::string cpus_text(const std::vector<unsigned>& cpus);
/// "12.5 %"
[[nodiscard]] std::string share_text(double share);
/// What the evidence is where a file could not be read.
[[nodiscard]] inline quote unreadable(std::string source) {
  return {.source = std::move(source), .value = "cannot be read"};
}
/// True where /proc/interrupts could not be read: then `found` says `summary` and why, and is out.
[[nodiscard]] bool lacks_interrupts(const examination& of, std::string_view summary, finding& found,
                                    findings& out);
/// A line of the kernel's log, or why there is none.
[[nodiscard]] quote log_quote(const kernel_log& log, std::string_view part);

}  // namespace xenpv::diag
