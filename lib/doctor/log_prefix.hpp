// The prefixes that programs add to lines of the kernel log: dmesg(1), syslog, journalctl(1) and
// console loggers. Users post logs with these. Pure.
#pragma once

#include <string_view>

namespace xenpv::doctor {

/// Removes the prefixes, but not more than a logger adds: "Oct 14 05:56:24 host kernel:
/// [   15.479389] ", "<6>[    0.017155] ", "[2024-01-09 23:29:50] [    1.244727] ". Keeps the
/// indentation of the message. Takes constant time.
[[nodiscard]] std::string_view without_log_prefix(std::string_view line);

}  // namespace xenpv::doctor
