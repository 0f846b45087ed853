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

std::string named_cpus(const std::vector<unsigned>& cpus) {
  return fmt::format("{} {}", cpus.size() == 1 ? "CPU" : "CPUs", cpus_text(cpus));
}

std::string counted(std::uint64_t count, std::string_view thing) {
  return fmt::format("{} {}{}", count, thing, count == 1 ? "" : "s");
}

std::string share_text(double share) {
  return fmt::format("{:.1f} %", 100 * share);
}

void add_unknown(check_results& out, std::string_view id, std::string_view summary, quote evidence,
                 std::string_view remedy) {
  out.push_back({.id = std::string(id),
                 .summary = std::string(summary),
                 .evidence = {std::move(evidence)},
                 .remedy = std::string(remedy)});
}

std::string remedy_for_interrupts(const guest_snapshot& snapshot) {
  return snapshot.is_capture ? "a capture with /proc/interrupts shows it" : "mount /proc";
}

bool lacks_interrupts(const guest_snapshot& snapshot, std::string_view id, std::string_view summary,
                      check_results& out) {
  if (snapshot.from.interrupts.value) return false;
  add_unknown(out, id, summary, {"/proc/interrupts", snapshot.from.interrupts.problem},
              remedy_for_interrupts(snapshot));
  return true;
}

const channels::interrupt_row* row_of(const guest_snapshot& snapshot, std::string_view label) {
  const auto& table = snapshot.from.interrupts.value;
  return table ? table->find(label) : nullptr;
}

void cite_row(check_result& result, const guest_snapshot& snapshot, std::string_view label) {
  const auto* row = row_of(snapshot, label);
  cite(result, fmt::format("/proc/interrupts {}", label),
       row == nullptr ? "absent" : counts_text(row->counts));
}

quote log_quote(const kernel_log& log, std::string_view part) {
  if (const auto* line = log.find_last(part)) return {"kernel log", *line};
  if (!log.problem.empty()) return {"kernel log", log.problem};
  return {"kernel log",
          fmt::format("{} '{}'",
                      log.is_complete ? "complete, and does not contain"
                                      : "begins after the start of the kernel; does not contain",
                      part)};
}

}  // namespace xenpv::doctor
