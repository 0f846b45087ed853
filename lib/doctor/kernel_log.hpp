// The kernel's log since boot, as far as its buffer still holds it (/dev/kmsg). The parser is pure.
// Reading needs CAP_SYSLOG where kernel.dmesg_restrict is 1, as in Debian.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/system_root.hpp"

namespace xenpv::doctor {

struct kernel_log {
  std::vector<std::string> lines = {};  ///< without prefixes, oldest first
  /// Begins with the first message: a message that is not in it was never logged.
  bool is_complete = false;
  std::string problem = {};  ///< why there are no lines, and the remedy; empty when read

  /// The first line that contains `part`; nullptr without one.
  [[nodiscard]] const std::string* find(std::string_view part) const noexcept;
  /// The last such line, for messages that repeat with each event.
  [[nodiscard]] const std::string* find_last(std::string_view part) const noexcept;
};

/// Adds one record of /dev/kmsg: "PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT". Skips the lines of
/// properties after it. Ignores invalid records.
void add_kernel_record(kernel_log& log, std::string_view record);

/// In a tree that is not the real root, reads the log of the capture.
[[nodiscard]] kernel_log read_kernel_log(const system_root& root);

/// "complete" or "partial", then the lines, in the form of a capture.
[[nodiscard]] std::string format_kernel_log(const kernel_log& log);
[[nodiscard]] kernel_log parse_kernel_log(std::string_view text);

/// Only the lines that check results quote: about Xen, clocks and PV disks, without the command
/// line.
[[nodiscard]] kernel_log without_foreign_lines(const kernel_log& log);

}  // namespace xenpv::doctor
