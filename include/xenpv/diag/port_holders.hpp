// Which processes have /dev/xen/evtchn open: whom a user's event channel belongs to. Linux names
// the channel after the thread that opened the device, not by process, so the name is compared.
// Looks through /proc/*/fd; others' processes need root (CAP_SYS_PTRACE).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "xenpv/base/system_root.hpp"

namespace xenpv::diag {

struct port_holder {
  unsigned pid = 0;
  std::string command = {};               ///< /proc/PID/comm
  std::vector<std::string> threads = {};  ///< names of its threads, each once
  friend bool operator==(const port_holder&, const port_holder&) = default;
};

/// By process number. In a captured tree: what the capture noted.
[[nodiscard]] std::vector<port_holder> read_port_holders(const system_root& root);

/// "PID<tab>COMMAND<tab>THREAD..." lines, as a capture holds them; others are skipped.
[[nodiscard]] std::vector<port_holder> parse_port_holders(std::string_view text);
[[nodiscard]] std::string format_port_holders(const std::vector<port_holder>& holders);

/// Those that can have opened a channel called "evtchn:`opener`". More than one: the name does not
/// tell.
[[nodiscard]] std::vector<const port_holder*> holders_named(const std::vector<port_holder>& all,
                                                            std::string_view opener);

}  // namespace xenpv::diag
