// What the kernel said since it was started, as far as its buffer still has it (/dev/kmsg). The
// parser is pure. Reading needs CAP_SYSLOG where kernel.dmesg_restrict is 1, as in Debian.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/system_root.hpp"

namespace xenpv::diag {

struct kernel_log {
  std::vector<std::string> lines = {};  ///< without prefixes, oldest first
  /// From the first message on: then what is not in it was not said.
  bool is_complete = false;
  std::string problem = {};  ///< why there are no lines, and what would help; empty when read

  /// The first line that has `part`; nullptr without one.
  [[nodiscard]] const std::string* find(std::string_view part) const noexcept;
  /// The last one: what is said anew at each event.
  [[nodiscard]] const std::string* find_last(std::string_view part) const noexcept;
};

/// Adds one record of /dev/kmsg: "PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT", and lines of
/// properties after it, which are left out. A record that is none is ignored.
void add_kernel_record(kernel_log& log, std::string_view record);

/// In a tree that is not the real root: what a capture noted.
[[nodiscard]] kernel_log read_kernel_log(const system_root& root);

/// "complete" or "partial", then the lines, as a capture holds them.
[[nodiscard]] std::string format_kernel_log(const kernel_log& log);
[[nodiscard]] kernel_log parse_kernel_log(std::string_view text);

/// Only what findings quote: lines about Xen, clocks and PV disks, without the command line.
[[nodiscard]] kernel_log without_foreign_lines(const kernel_log& log);

}  // namespace xenpv::diag
