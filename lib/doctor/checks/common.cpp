#include "doctor/checks.hpp"
#include "xenpv/async/cpu_set.hpp"

namespace xenpv::doctor {

std::string counts_text(const std::vector<std::uint64_t>& counts) {
  constexpr std::size_t most = 16;
  std::string out;
  for (std::size_t i = 0; i < counts.size() && i < most; ++i)
    out += fmt::format("{}{}", i == 0 ? "" : " ", counts[i]);
  if (counts.size() > most) out += fmt::format(" ... ({} CPUs)", counts.size());
  return out;
}

std::string cpus_text(const std::vector<unsigned>& cpus) {
  return cpus.empty() ? "none" : async::format_cpu_list(cpus);
}

std::string share_text(double share) {
  return fmt::format("{:.1f} %", 100 * share);
}

bool lacks_interrupts(const guest_snapshot& snapshot, std::string_view summary,
                      check_result& result, check_results& out) {
  if (snapshot.from.interrupts.value) return false;
  result.summary = summary;
  result.evidence.push_back(unreadable("/proc/interrupts"));
  result.remedy = snapshot.from.interrupts.problem;
  out.push_back(std::move(result));
  return true;
}

quote log_quote(const kernel_log& log, std::string_view part) {
  constexpr std::string_view source = "kernel log";
  if (const auto* line = log.find_last(part)) return {std::string(source), *line};
  if (!log.problem.empty()) return {std::string(source), log.problem};
  return {std::string(source),
          fmt::format("{} '{}'",
                      log.is_complete ? "complete, and does not contain"
                                      : "begins after the start of the kernel; does not contain",
                      part)};
}

}  // namespace xenpv::doctor
