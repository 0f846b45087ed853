// A block backend: serves every disk that a toolstack assigns to this domain.
//
// It finds the disks in this domain's xenstore, below `backend/vbd` and `backend/qdisk`;
// disk_plan.hpp lists the nodes that it reads. Disks may come and go while it runs. It needs
// /dev/xen/evtchn, /dev/xen/gntdev and xenstore, but no simulator.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace xenpv::blkback {

struct serve_options {
  /// CPUs to serve rings on; empty: all CPUs that the process may use.
  std::vector<unsigned> cpus;
  /// Called once, when every existing disk has been announced (InitWait) or has failed.
  std::function<void()> ready;
  /// Serving ends when this becomes readable or is hung up.
  int stop_descriptor = -1;
  /// Called when serving begins to end.
  std::function<void()> stopping;
};

/// Serves on the calling thread and one thread per CPU. Returns after the stop, when the stores are
/// drained; leaves xenstore unchanged. Throws `failure`.
void serve(serve_options options);

}  // namespace xenpv::blkback
