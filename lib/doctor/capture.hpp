// A capture: the files that xenpv's diagnostics read from this guest, in one archive for analysis
// elsewhere. The answers of xenstore and the hypervisor are stored beside them, below xenpv/.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "channels/raw_facts.hpp"

namespace xenpv::doctor {

struct captured_file {
  std::string path;  ///< absolute, as in the guest
  std::string content;
};

/// Collects the readable parts of /proc/interrupts, /proc/irq, /sys/kernel/irq, clocks, devices and
/// nodes, and the results of the doctor's trials. Takes from xenstore only the ports of devices,
/// their remote ends and the features of disks, and from the kernel's log and command line only the
/// parts about Xen and clocks. Takes no addresses, and no command lines of processes.
[[nodiscard]] std::vector<captured_file> collect_capture(const channels::fact_source& source);

/// Writes a tar archive (POSIX ustar) with the files below the folder `top`. Throws `failure` when
/// a path is too long for the format. The caller checks the state of `out` afterwards.
void write_tar(std::ostream& out, const std::string& top, const std::vector<captured_file>& files);

}  // namespace xenpv::doctor
