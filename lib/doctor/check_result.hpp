// A check result: the verdict on one subject, the quoted evidence for it, and the remedy. Values
// only; guest_snapshot.hpp has the facts, run_checks() makes results from them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace xenpv::doctor {

/// From the best to the worst.
enum class health {
  pass,
  unknown,  ///< could not be determined; the remedy explains how
  warn,     ///< works, but slower or less safely than this host and kernel allow
  fail,     ///< does not work, or works only by emulation
};
[[nodiscard]] std::string_view to_string(health value) noexcept;  ///< "PASS", "WARN", ...

/// A fact as it was read.
struct quote {
  std::string source;  ///< a file, and the part of it: "/proc/interrupts HYP"
  std::string value;   ///< its content, shortened if it is long
  friend bool operator==(const quote&, const quote&) = default;
};

struct check_result {
  std::string id = {};  ///< for scripts, the same in all versions: "upcall", "disk-xvda"
  health verdict = health::unknown;
  std::string summary = {};          ///< one sentence without a full stop
  std::vector<quote> evidence = {};  ///< never empty for a verdict other than unknown
  std::string remedy = {};           ///< what to do; with pass: possible improvements
  friend bool operator==(const check_result&, const check_result&) = default;
};

/// health::pass when there are none.
[[nodiscard]] health worst_of(const std::vector<check_result>& results) noexcept;

}  // namespace xenpv::doctor
