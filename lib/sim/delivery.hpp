// Delivers events to the handle at the remote end of a port. Lock-free. Works in every process that
// maps the shared state, that is, in the host and (through libxensim) in the domains' processes.
// These processes differ only in how they write to a handle's ring, which is a pipe that carries
// port numbers. Does not bind or close ports.
#pragma once

#include <cstdint>

#include "sim/shared_state.hpp"

namespace xenpv::sim {

/// Writes a port number to a handle's ring. Only this step differs between the host and the other
/// processes.
class port_ring_writer {
 public:
  /// Like the hypervisor, ignores write errors, which mean that the reader has closed the handle.
  virtual void write_port(std::uint16_t handle, std::uint32_t generation, std::uint32_t port) = 0;

 protected:
  ~port_ring_writer() = default;
};

/// Delivers an event to `port` of the domain in `slot`: writes the port number to the ring or, if
/// the port is masked, marks the port pending.
void deliver(shared_state& state, port_ring_writer& rings, std::uint8_t slot, std::uint32_t port);

/// Emulates EVTCHNOP_send on `port` of the domain in `slot`, subject to the fault switches.
/// Silently drops the event if the remote end is not bound. Returns false if the caller must delay
/// the event.
[[nodiscard]] bool send_event(shared_state& state, port_ring_writer& rings, std::uint8_t slot,
                              std::uint32_t port);

/// Emulates the evtchn driver's late EOI: unmasks the port and delivers a pending event. Ignores a
/// port that is not masked or no longer belongs to the handle.
void unmask_port(shared_state& state, port_ring_writer& rings, std::uint16_t handle,
                 std::uint32_t generation, std::uint32_t port);

}  // namespace xenpv::sim
