// How an event travels: from a port to the other end's handle, by whoever has the shared state
// mapped. Lock-free; used by processes (libxensim) and by the host, which differ only in how they
// reach a handle's wake-up pipe. Binds nothing and frees nothing.
#pragma once

#include <cstdint>

#include "sim/shared_state.hpp"

namespace xenpv::sim {

/// Puts a port number into the ring of a handle: the only step host and processes do differently.
class port_ring_writer {
 public:
  /// Failure to write (the reader is gone) is silent: so is the hypervisor.
  virtual void write_port(std::uint16_t handle, std::uint32_t generation, std::uint32_t port) = 0;

 protected:
  ~port_ring_writer() = default;
};

/// The event reaches `port` of the domain in `slot`: queued, or latched while the port is masked.
void deliver(shared_state& state, port_ring_writer& rings, std::uint8_t slot, std::uint32_t port);

/// EVTCHNOP_send on `port` of the domain in `slot`, past the fault switches: dropped silently where
/// no other end is bound. False: the event is to be delayed, and the caller has to see to it.
[[nodiscard]] bool send_event(shared_state& state, port_ring_writer& rings, std::uint8_t slot,
                              std::uint32_t port);

/// The late EOI of the evtchn driver: unmasks, and delivers what was latched. Ports that are not
/// masked, or that no longer belong to the handle, are skipped.
void unmask_port(shared_state& state, port_ring_writer& rings, std::uint16_t handle,
                 std::uint32_t generation, std::uint32_t port);

}  // namespace xenpv::sim
