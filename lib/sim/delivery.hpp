// Event delivery: from a port to the remote end's handle, by any process that maps the shared
// state. Lock-free; used by processes (libxensim) and by the host, which differ only in how they
// reach a handle's wake-up pipe. Binds nothing and frees nothing.
#pragma once

#include <cstdint>

#include "sim/shared_state.hpp"

namespace xenpv::sim {

/// Puts a port number into the ring of a handle: the only step in which host and processes differ.
class port_ring_writer {
 public:
  /// A failed write (the reader is gone) is silent, as in the hypervisor.
  virtual void write_port(std::uint16_t handle, std::uint32_t generation, std::uint32_t port) = 0;

 protected:
  ~port_ring_writer() = default;
};

/// Delivers an event to `port` of the domain in `slot`: queued, or latched while the port is
/// masked.
void deliver(shared_state& state, port_ring_writer& rings, std::uint8_t slot, std::uint32_t port);

/// EVTCHNOP_send on `port` of the domain in `slot`, subject to the fault switches. Silently drops
/// the event when no remote end is bound. Returns false when the caller must delay the event.
[[nodiscard]] bool send_event(shared_state& state, port_ring_writer& rings, std::uint8_t slot,
                              std::uint32_t port);

/// The late EOI of the evtchn driver: unmasks the port and delivers a latched event. Skips ports
/// that are not masked or no longer belong to the handle.
void unmask_port(shared_state& state, port_ring_writer& rings, std::uint16_t handle,
                 std::uint32_t generation, std::uint32_t port);

}  // namespace xenpv::sim
