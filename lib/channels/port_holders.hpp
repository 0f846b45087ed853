// Finds the processes that have /dev/xen/evtchn open: the owners of user event channels. Linux
// names a channel after the thread that opened the device, not after the process, so thread names
// are compared. Reads /proc/*/fd, which requires root for other users' processes (CAP_SYS_PTRACE).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/system_root.hpp"

namespace xenpv::channels {

struct port_holder {
  unsigned pid = 0;
  std::string command = {};               ///< /proc/PID/comm
  std::vector<std::string> threads = {};  ///< thread names, without duplicates
  friend bool operator==(const port_holder&, const port_holder&) = default;
};

/// Returns the processes sorted by process ID. For a capture, reads the recorded list.
[[nodiscard]] std::vector<port_holder> read_port_holders(const system_root& root);

/// Parses "PID<tab>COMMAND<tab>THREAD..." lines, the format used in captures; skips other lines.
[[nodiscard]] std::vector<port_holder> parse_port_holders(std::string_view text);
[[nodiscard]] std::string format_port_holders(const std::vector<port_holder>& holders);

/// Returns the processes that may have opened a channel named "evtchn:`opener`". Several matches
/// mean that the name is ambiguous.
[[nodiscard]] std::vector<const port_holder*> holders_named(const std::vector<port_holder>& all,
                                                            std::string_view opener);

}  // namespace xenpv::channels
