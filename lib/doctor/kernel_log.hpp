// The kernel log (/dev/kmsg): the messages since boot that are still in the ring buffer. The parser
// is pure. Reading requires CAP_SYSLOG if kernel.dmesg_restrict is 1, which is the Debian default.
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
  /// True if the log begins with the first message after boot: a message that is absent from such a
  /// log was never logged.
  bool is_complete = false;
  std::string problem = {};  ///< why the log could not be read, and the remedy; empty on success

  /// Returns the first line that contains `part`, or nullptr if there is none.
  [[nodiscard]] const std::string* find(std::string_view part) const noexcept;
  /// Returns the last line that contains `part`, for messages that are logged repeatedly.
  [[nodiscard]] const std::string* find_last(std::string_view part) const noexcept;
};

/// Adds one record of /dev/kmsg: "PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT". Skips the property
/// lines that follow the text. Ignores invalid records.
void add_kernel_record(kernel_log& log, std::string_view record);

/// With a root other than "/", reads the log recorded in the capture.
[[nodiscard]] kernel_log read_kernel_log(const system_root& root);

/// Formats the log for a capture: "complete" or "partial", then the lines.
[[nodiscard]] std::string format_kernel_log(const kernel_log& log);
/// Also accepts lines with the prefixes of dmesg(1), syslog and journalctl(1).
[[nodiscard]] kernel_log parse_kernel_log(std::string_view text);

/// An error that a device's driver reported: xenbus_dev_error() in
/// drivers/xen/xenbus/xenbus_client.c.
struct device_error {
  std::string device = {};  ///< "vif-0"
  int error = 0;            ///< errno
  std::string text = {};    ///< "allocating event channel"
};
/// Parses "vif vif-0: 1 allocating event channel", with any driver's name first. Returns nullopt
/// for any other line.
[[nodiscard]] std::optional<device_error> parse_device_error(std::string_view line);

/// Keeps only the lines that check results quote: those about Xen, clocks, PV devices and stalled
/// tasks with their call traces, without the kernel command line.
[[nodiscard]] kernel_log without_foreign_lines(const kernel_log& log);

}  // namespace xenpv::doctor
