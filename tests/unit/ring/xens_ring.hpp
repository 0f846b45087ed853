// Both ends of a block ring, built with Xen's header (xen/io/ring.h) as a reference for this
// library's ends, and memory for rings.
#pragma once

// The first version that leaves the definition of the barriers to the program.
#define __XEN_INTERFACE_VERSION__ 0x00030208
#include <xen/xen.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#define xen_mb() std::atomic_thread_fence(std::memory_order_seq_cst)
#define xen_rmb() std::atomic_thread_fence(std::memory_order_acquire)
#define xen_wmb() std::atomic_thread_fence(std::memory_order_release)
#include <xen/io/blkif.h>

#include "xenpv/ring/blkif_ring.hpp"

namespace xenpv::ring::test {

/// Page-aligned memory for a ring, filled with stale bytes.
class ring_memory {
 public:
  explicit ring_memory(unsigned page_order = 0) : pages_(std::size_t{1} << page_order) {
    std::memset(pages_.data(), 0xA5, bytes().size());
  }
  [[nodiscard]] std::span<std::byte> bytes() noexcept {
    return {pages_.data()->bytes, pages_.size() * page_size};
  }
  [[nodiscard]] ::blkif_sring_t* xens() noexcept {
    return reinterpret_cast<::blkif_sring_t*>(pages_.data());
  }

 private:
  struct alignas(page_size) page {
    std::byte bytes[page_size];
  };
  std::vector<page> pages_;
};

// Xen's macros are written in C and rely on implicit conversions.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"

class xens_front {
 public:
  /// Initializes the ring for a new connection (XEN_FRONT_RING_INIT).
  explicit xens_front(ring_memory& memory) {
    XEN_FRONT_RING_INIT(&ring_, memory.xens(), memory.bytes().size());
  }
  /// Initializes the ring with indices that start at `first`.
  xens_front(ring_memory& memory, std::uint32_t first) {
    SHARED_RING_INIT(memory.xens());
    memory.xens()->req_prod = memory.xens()->rsp_prod = first;
    memory.xens()->req_event = memory.xens()->rsp_event = first + 1;
    FRONT_RING_ATTACH(&ring_, memory.xens(), first, memory.bytes().size());
  }

  [[nodiscard]] std::uint32_t size() const { return RING_SIZE(&ring_); }
  [[nodiscard]] std::uint32_t free() const { return RING_FREE_REQUESTS(&ring_); }
  void put(const wire::blkif_request& request) {
    std::memcpy(RING_GET_REQUEST(&ring_, ring_.req_prod_pvt), &request, sizeof request);
    ++ring_.req_prod_pvt;
  }
  [[nodiscard]] bool publish() {
    bool notify = false;
    RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&ring_, notify);
    return notify;
  }
  [[nodiscard]] std::uint32_t available() const { return RING_HAS_UNCONSUMED_RESPONSES(&ring_); }
  [[nodiscard]] wire::blkif_response take() {
    wire::blkif_response response;
    std::memcpy(&response, RING_GET_RESPONSE(&ring_, ring_.rsp_cons), sizeof response);
    ++ring_.rsp_cons;
    return response;
  }
  /// Returns true if no response is available and the next one causes an event.
  [[nodiscard]] bool arm() {
    bool work_to_do = false;
    RING_FINAL_CHECK_FOR_RESPONSES(&ring_, work_to_do);
    return !work_to_do;
  }

 private:
  ::blkif_front_ring_t ring_;
};

class xens_back {
 public:
  explicit xens_back(ring_memory& memory, std::uint32_t first = 0) {
    BACK_RING_ATTACH(&ring_, memory.xens(), first, memory.bytes().size());
  }

  [[nodiscard]] std::uint32_t size() const { return RING_SIZE(&ring_); }
  [[nodiscard]] bool overflow() const {
    return RING_REQUEST_PROD_OVERFLOW(&ring_, ring_.sring->req_prod);
  }
  [[nodiscard]] std::uint32_t available() const { return RING_HAS_UNCONSUMED_REQUESTS(&ring_); }
  [[nodiscard]] wire::blkif_request take() {
    wire::blkif_request request;
    std::memcpy(&request, RING_GET_REQUEST(&ring_, ring_.req_cons), sizeof request);
    ++ring_.req_cons;
    return request;
  }
  void put(const wire::blkif_response& response) {
    std::memcpy(RING_GET_RESPONSE(&ring_, ring_.rsp_prod_pvt), &response, sizeof response);
    ++ring_.rsp_prod_pvt;
  }
  [[nodiscard]] bool publish() {
    bool notify = false;
    RING_PUSH_RESPONSES_AND_CHECK_NOTIFY(&ring_, notify);
    return notify;
  }
  [[nodiscard]] bool arm() {
    bool work_to_do = false;
    RING_FINAL_CHECK_FOR_REQUESTS(&ring_, work_to_do);
    return !work_to_do;
  }

 private:
  ::blkif_back_ring_t ring_;
};

#pragma GCC diagnostic pop

/// Returns a request whose fields depend on `id`.
inline wire::blkif_request request_of(std::uint64_t id) {
  wire::blkif_request request{};
  request.operation = static_cast<std::uint8_t>(id);
  request.handle = static_cast<std::uint16_t>(id);
  request.id = id;
  request.sector_number = ~id;
  request.seg[10].gref = static_cast<std::uint32_t>(id);
  return request;
}
[[nodiscard]] inline bool is_request_of(const wire::blkif_request& request, std::uint64_t id) {
  const auto expected = request_of(id);
  return std::memcmp(&request, &expected, sizeof expected) == 0;
}
inline wire::blkif_response response_of(std::uint64_t id) {
  wire::blkif_response response{};
  response.id = id;
  response.operation = static_cast<std::uint8_t>(id);
  response.status = static_cast<std::int16_t>(id);
  response.pad2 = static_cast<std::uint32_t>(~id);
  return response;
}
[[nodiscard]] inline bool is_response_of(const wire::blkif_response& response, std::uint64_t id) {
  const auto expected = response_of(id);
  return std::memcmp(&response, &expected, sizeof expected) == 0;
}

}  // namespace xenpv::ring::test
