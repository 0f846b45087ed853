// The domain 0 side of the two-domain cases: a supervisor that keeps one worker process alive.
// Cases order workers to die; the supervisor holds no handle and no connection, so a new worker
// inherits nothing.
#pragma once

#include <cstdint>

namespace xenpv::contract {

/// Serves the guest `domain` until it is gone. Returns the exit status for the process.
[[nodiscard]] int serve_peer(std::uint32_t domain);

}  // namespace xenpv::contract
