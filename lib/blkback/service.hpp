// A block backend: serves every disk that a toolstack gives to this domain, for as long as it runs.
//
// It finds them in this domain's xenstore, below `backend/vbd` and `backend/qdisk`; see
// disk_plan.hpp for what it understands there. Disks come and go while it runs. It needs what a
// backend needs: /dev/xen/evtchn, /dev/xen/gntdev and xenstore, nothing of a simulator.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace xenpv::blkback {

struct serve_options {
  /// CPUs to serve rings on; empty: all that the process may use.
  std::vector<unsigned> cpus;
  /// Called once, when every disk that was there has been announced (InitWait) or has failed.
  std::function<void()> ready;
  /// Serving ends when this becomes readable or is hung up.
  int stop_descriptor = -1;
  /// Called first thing then.
  std::function<void()> stopping;
};

/// Serves on the calling thread and a thread for each CPU. Returns after the stop: what the stores
/// had been given is done, xenstore is left as it is. Throws `failure`.
void serve(serve_options options);

}  // namespace xenpv::blkback
