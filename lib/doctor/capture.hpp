// A capture: an archive of the files that xenpv's diagnostics read from this guest, for analysis
// elsewhere. The archive also contains the replies from xenstore and the hypervisor, below xenpv/.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "channels/raw_facts.hpp"

namespace xenpv::doctor {

struct captured_file {
  std::string path;  ///< absolute path in the guest
  std::string content;
};

/// Collects the readable files and the results of the doctor's run-time probes. The help of
/// `xenpv-evtchn capture` describes the content.
[[nodiscard]] std::vector<captured_file> collect_capture(const channels::fact_source& source);

/// Writes a tar archive (POSIX ustar) with the files below directory `top`. Throws `failure` if a
/// path is too long for the format. The caller must check the state of `out` afterwards.
void write_tar(std::ostream& out, const std::string& top, const std::vector<captured_file>& files);

}  // namespace xenpv::doctor
