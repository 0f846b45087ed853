// Options for the simulated xenstored's replies to CONTROL requests (`xenstore-control`).
#pragma once

namespace xenpv::sim {

struct store_control_options {
  /// The commands, parameters and replies of Xen 4.20; otherwise, those of 4.17.
  bool like_xen_4_20 = false;
  /// Let domain 0 make the daemon write its trace file (`logfile`) and its memory report
  /// (`memreport`) to any path that this process may write. Otherwise, opening the file fails.
  bool writes_files = false;
};

}  // namespace xenpv::sim
