#include "sim/delivery.hpp"

namespace xenpv::sim {

void deliver(shared_state& state, port_ring_writer& rings, std::uint8_t slot, std::uint32_t port) {
  auto& word = state.domains[slot].ports[port].delivery;
  auto seen = word.load(std::memory_order_acquire);
  for (;;) {
    auto next = port_delivery::unpack(seen);
    if (next.generation == 0) return;
    const bool queue = !next.masked;
    if (queue)
      next.masked = true;
    else if (next.pending)
      return;
    else
      next.pending = true;
    if (!word.compare_exchange_weak(seen, next.pack(), std::memory_order_acq_rel,
                                    std::memory_order_acquire))
      continue;
    if (queue) rings.write_port(next.handle, next.generation, port);
    return;
  }
}

bool send_event(shared_state& state, port_ring_writer& rings, std::uint8_t slot,
                std::uint32_t port) {
  const auto link =
      port_link::unpack(state.domains[slot].ports[port].link.load(std::memory_order_acquire));
  if (link.kind != port_kind::interdomain) return true;
  if (state.lose.strikes()) return true;
  if (state.delay.strikes()) return false;
  deliver(state, rings, link.remote_slot, link.remote_port);
  if (state.duplicate.strikes()) deliver(state, rings, link.remote_slot, link.remote_port);
  return true;
}

void unmask_port(shared_state& state, port_ring_writer& rings, std::uint16_t handle,
                 std::uint32_t generation, std::uint32_t port) {
  const auto slot = state.handles[handle].slot.load(std::memory_order_relaxed);
  auto& word = state.domains[slot].ports[port].delivery;
  auto seen = word.load(std::memory_order_acquire);
  for (;;) {
    auto next = port_delivery::unpack(seen);
    if (next.generation != generation || next.handle != handle || !next.masked) return;
    const bool again = next.pending;
    next.pending = false;
    next.masked = again;
    if (!word.compare_exchange_weak(seen, next.pack(), std::memory_order_acq_rel,
                                    std::memory_order_acquire))
      continue;
    if (again) rings.write_port(handle, generation, port);
    return;
  }
}

}  // namespace xenpv::sim
