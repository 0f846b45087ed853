// Reports lines of /proc/interrupts that could not be parsed: the other rows were judged without
// them. Posted files are often cut, or wrapped by a mail program (xen-devel, June 2020, "Keystone
// Issue").
#include "doctor/log_lines.hpp"

namespace xenpv::doctor {

void check_unparsed(const guest_snapshot& snapshot, check_results& out) {
  constexpr const char* remedy =
      "use the complete file, unwrapped and with its header; for the file of a running kernel, "
      "please report these lines";
  const auto& interrupts = snapshot.from.interrupts;
  check_result result{.id = "unparsed"};
  if (!interrupts.value) {
    // An absent file is reported by the rows that need it.
    if (!interrupts.is_malformed) return;
    conclude(result, health::unknown, "/proc/interrupts cannot be parsed: its header is missing",
             remedy);
    cite(result, "/proc/interrupts", interrupts.problem);
    return out.push_back(std::move(result));
  }
  const auto& problems = interrupts.value->problems;
  if (problems.empty()) return;
  conclude(result, health::unknown,
           fmt::format("{} of /proc/interrupts cannot be parsed; the other rows were judged "
                       "without {}",
                       counted(problems.size(), "line"), problems.size() == 1 ? "it" : "them"),
           remedy);
  cite_lines(result, problems, "/proc/interrupts");
  out.push_back(std::move(result));
}

}  // namespace xenpv::doctor
