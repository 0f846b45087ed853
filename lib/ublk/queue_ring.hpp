// A queue of an open /dev/ublkcN: an io_uring for its commands, whose completions are an event of
// the queue's event loop, and the mapped descriptors.
//
// Owned by a queue_server, on the queue's thread. Before the ring is enabled, it is restricted to
// commands to this device.
#pragma once

#include <cstdint>
#include <memory>

#include "ublk/kernel.hpp"
#include "xenpv/async/asio.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::ublk {

/// Opens the queue on the calling thread, which must be the executor's. `device` is /dev/ublkcN.
/// Throws `failure`.
[[nodiscard]] std::unique_ptr<kernel_queue> open_queue_ring(const asio::any_io_executor& executor,
                                                            std::shared_ptr<const unique_fd> device,
                                                            std::uint16_t index,
                                                            std::uint16_t depth);

}  // namespace xenpv::ublk
