// Event delivery from a port to the handle of the remote end, by any process that maps the shared
// state. Lock-free. Used by the processes of the domains (in libxensim) and by the host, which
// differ only in how they access a handle's ring, a pipe that carries port numbers. Does not bind
// or free ports.
#pragma once

#include <cstdint>

#include "sim/shared_state.hpp"

namespace xenpv::sim {

/// Writes a port number to the ring of a handle: the only step in which the host and the processes
/// differ.
class port_ring_writer {
 public:
  /// Ignores a failed write (the reader has closed the handle), as the hypervisor does.
  virtual void write_port(std::uint16_t handle, std::uint32_t generation, std::uint32_t port) = 0;

 protected:
  ~port_ring_writer() = default;
};

/// Delivers an event to `port` of the domain in `slot`: writes it to the ring, or marks it pending
/// while the port is masked.
void deliver(shared_state& state, port_ring_writer& rings, std::uint8_t slot, std::uint32_t port);

/// Performs EVTCHNOP_send on `port` of the domain in `slot`, subject to the fault switches.
/// Silently drops the event if no remote end is bound. Returns false if the caller must delay the
/// event.
[[nodiscard]] bool send_event(shared_state& state, port_ring_writer& rings, std::uint8_t slot,
                              std::uint32_t port);

/// Performs the late EOI of the evtchn driver: unmasks the port and delivers a pending event.
/// Ignores a port that is not masked or no longer belongs to the handle.
void unmask_port(shared_state& state, port_ring_writer& rings, std::uint16_t handle,
                 std::uint32_t generation, std::uint32_t port);

}  // namespace xenpv::sim
