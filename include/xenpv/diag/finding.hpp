// What the doctor says of one subject: a verdict, the evidence it rests on, quoted, and what to do.
// Values only; examination.hpp has the facts, judge() makes findings of them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace xenpv::diag {

/// From the best to the worst.
enum class health {
  pass,
  unknown,  ///< could not be seen from here; the cure says what would show it
  warn,     ///< works, but slower or less safely than this host and kernel could do it
  fail,     ///< does not work, or works only by emulation
};
[[nodiscard]] std::string_view to_string(health value) noexcept;  ///< "PASS", "WARN", ...

/// A fact as it was read.
struct quote {
  std::string source;  ///< a file, and what of it: "/proc/interrupts HYP"
  std::string value;   ///< what stands there, shortened where it is long
  friend bool operator==(const quote&, const quote&) = default;
};

struct finding {
  std::string id = {};  ///< for scripts, the same in all versions: "upcall", "disk-xvda"
  health verdict = health::unknown;
  std::string summary = {};          ///< one sentence without a full stop
  std::vector<quote> evidence = {};  ///< never empty for a verdict other than unknown
  std::string cure = {};             ///< what to do; with pass: what more would be possible
  friend bool operator==(const finding&, const finding&) = default;
};

/// health::pass when there are none.
[[nodiscard]] health worst_of(const std::vector<finding>& findings) noexcept;

}  // namespace xenpv::diag
