// The header of every Xen I/O ring (xen/io/ring.h, DEFINE_RING_TYPES): four indices, followed by
// the entries. See ring/front_ring.hpp and ring/back_ring.hpp for the operations.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace xenpv::wire {

/// struct xxx_sring without its entries. The indices wrap at 2^32.
struct ring_header {
  std::uint32_t req_prod;   ///< number of requests published by the frontend
  std::uint32_t req_event;  ///< set by the backend: send an event when req_prod reaches this
  std::uint32_t rsp_prod;   ///< number of responses published by the backend
  std::uint32_t rsp_event;  ///< set by the frontend: send an event when rsp_prod reaches this
  std::uint8_t pad[48];
};
static_assert(sizeof(ring_header) == 64);
static_assert(offsetof(ring_header, req_prod) == 0);
static_assert(offsetof(ring_header, req_event) == 4);
static_assert(offsetof(ring_header, rsp_prod) == 8);
static_assert(offsetof(ring_header, rsp_event) == 12);
static_assert(offsetof(ring_header, pad) == 16);
static_assert(std::is_trivially_copyable_v<ring_header>);

}  // namespace xenpv::wire
