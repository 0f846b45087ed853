// A check result: the verdict on one subject, the quoted evidence and the remedy. Contains only
// data. guest_snapshot.hpp declares the facts; run_checks() derives the results from them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace xenpv::doctor {

/// Ordered from best to worst.
enum class health {
  pass,
  unknown,  ///< could not be determined; the remedy explains how
  warn,     ///< works, but slower or less safely than this host and kernel allow
  fail,     ///< does not work, or works only through emulation
};
[[nodiscard]] std::string_view to_string(health value) noexcept;  ///< "PASS", "WARN", ...

/// A fact, quoted as it was read.
struct quote {
  std::string source;  ///< a file and the row or field in it: "/proc/interrupts HYP"
  std::string value;   ///< content, truncated if long
  friend bool operator==(const quote&, const quote&) = default;
};

struct check_result {
  std::string id = {};  ///< stable across versions, for scripts: "upcall", "disk-xvda"
  health verdict = health::unknown;
  std::string summary = {};          ///< one sentence without a full stop
  std::vector<quote> evidence = {};  ///< empty only if the verdict is unknown
  std::string remedy = {};           ///< what to do; for a pass, possible improvements
  friend bool operator==(const check_result&, const check_result&) = default;
};

/// The results that a report shows as one entry: a single result, or all results that are unknown
/// for the same reason. Not empty. Refers to the results, which must outlive it.
using result_group = std::vector<const check_result*>;

/// Groups the results from worst to best verdict; groups with equal verdicts keep the order of
/// their first results. Without `fold`, each result is a separate group.
[[nodiscard]] std::vector<result_group> group_results(const std::vector<check_result>& results,
                                                      bool fold);

/// Returns the remedy of the group; empty if it merely repeats a quote.
[[nodiscard]] std::string_view remedy_of(const result_group& group);

/// Returns health::pass for an empty list.
[[nodiscard]] health worst_of(const std::vector<check_result>& results) noexcept;

}  // namespace xenpv::doctor
