// A capture: the files this room reads, of this guest, in one archive that somebody else can look
// at. What was asked of xenstore and the hypervisor is put beside them, below xenpv/.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "xenpv/diag/readings.hpp"

namespace xenpv::diag {

struct captured_file {
  std::string path;  ///< absolute, as in the guest
  std::string content;
};

/// What can be read of /proc/interrupts, /proc/irq, /sys/kernel/irq, clocks, devices and nodes, and
/// what the doctor tries out. Of xenstore only the ports of devices, whom they lead to and what
/// disks offer; of the kernel's log and command line only what is about Xen and clocks. No
/// addresses, and no processes' command lines.
[[nodiscard]] std::vector<captured_file> collect_capture(const reading_place& place);

/// As a tar archive (POSIX ustar) below the folder `top`. Throws `failure` when a path is too long
/// for the format; whether `out` is good afterwards is the caller's to check.
void write_tar(std::ostream& out, const std::string& top, const std::vector<captured_file>& files);

}  // namespace xenpv::diag
