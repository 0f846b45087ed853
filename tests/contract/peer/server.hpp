// The domain 0 side of the two-domain cases: a supervisor that keeps one worker process running.
// Cases may make a worker exit. The supervisor has no open handles or connections that a new
// worker could inherit.
#pragma once

#include <cstdint>

namespace xenpv::contract {

/// Serves the guest `domain` until the guest is destroyed. Returns this process's exit status.
[[nodiscard]] int serve_peer(std::uint32_t domain);

}  // namespace xenpv::contract
