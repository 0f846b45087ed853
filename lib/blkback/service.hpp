// A block backend: serves every disk that a toolstack assigns to this domain.
//
// Discovers the disks in this domain's xenstore directory, below `backend/vbd` and `backend/qdisk`;
// ignores the disks of external backends (wire/simulated_disk.hpp). disk_plan.hpp lists the nodes
// that are read. Disks may be added and removed at run time. Requires
// /dev/xen/evtchn, /dev/xen/gntdev and xenstore; independent of the simulator.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace xenpv::blkback {

struct serve_options {
  /// CPUs that serve rings; empty: all CPUs that the process may use.
  std::vector<unsigned> cpus;
  /// Called once, when every existing disk has been announced (InitWait) or has failed.
  std::function<void()> ready;
  /// The service stops when this descriptor becomes readable or its peer disconnects.
  int stop_descriptor = -1;
  /// Called when the service is stopping.
  std::function<void()> stopping;
};

/// Serves on the calling thread and one thread per CPU. Returns when the service has stopped and
/// the stores are drained; leaves xenstore unchanged. Throws `failure`.
void serve(serve_options options);

}  // namespace xenpv::blkback
