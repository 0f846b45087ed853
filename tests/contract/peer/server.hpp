// The domain 0 side of the two-domain cases: a supervisor that keeps one worker process running.
// Cases order workers to exit. The supervisor has no handle and no connection, so a new worker
// inherits nothing.
#pragma once

#include <cstdint>

namespace xenpv::contract {

/// Serves the guest `domain` until it is destroyed. Returns the exit status of the process.
[[nodiscard]] int serve_peer(std::uint32_t domain);

}  // namespace xenpv::contract
