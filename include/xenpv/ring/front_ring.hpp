// The frontend end of a shared ring: adds requests and consumes responses (xen/io/ring.h
// FRONT_RING_*).
//
// Owned by one thread. Handles indices and bytes only and does not interpret entries. Does not send
// events: publish() returns whether to send one.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

#include "xenpv/ring/shared_ring.hpp"

namespace xenpv::ring {

/// `Request` is the largest request layout of the protocol.
template <class Request, class Response>
class front_ring {
 public:
  /// Bytes per entry.
  static constexpr std::size_t stride = std::max(sizeof(Request), sizeof(Response));

  /// Initialises the ring for a new connection (SHARED_RING_INIT, FRONT_RING_INIT). The peer must
  /// not have access to the ring yet. `first` is the initial index. Peers expect 0, except those
  /// that attach at_published; other values are for tests of index wrap-around.
  explicit front_ring(std::span<std::byte> memory, std::uint32_t first = 0) noexcept
      : ring_(memory), req_prod_(first), published_(first), rsp_cons_(first) {
    std::memset(memory.data(), 0, memory.size());
    ring_.header().req_prod = ring_.header().rsp_prod = first;
    ring_.header().req_event = first + 1;
    ring_.store(ring_.header().rsp_event, first + 1);
  }

  /// The number of entries; a power of two.
  [[nodiscard]] std::uint32_t size() const noexcept { return ring_.size(); }
  /// Number of requests whose responses have not been taken.
  [[nodiscard]] std::uint32_t in_flight() const noexcept { return req_prod_ - rsp_cons_; }
  /// The number of requests that can be added now.
  [[nodiscard]] std::uint32_t free() const noexcept { return size() - in_flight(); }

  /// Adds a request in any request layout. Requires a free entry. publish() makes the request
  /// visible to the peer. Copies only the first `bytes` bytes: the peer can read the whole entry,
  /// so unused bytes of a request must not be copied.
  template <class Layout>
  void put(const Layout& request, std::size_t bytes = sizeof(Layout)) noexcept {
    assert(free() > 0 && bytes <= sizeof(Layout));
    ring_.copy_in(req_prod_++, request, bytes);
  }

  /// Publishes the requests added since the last call. Returns true if the peer requested an event
  /// (RING_PUSH_REQUESTS_AND_CHECK_NOTIFY).
  [[nodiscard]] bool publish() noexcept {
    const auto before = published_;
    if (before == req_prod_) return false;
    published_ = req_prod_;
    ring_.store(ring_.header().req_prod, req_prod_);
    ring_.full_barrier();
    return passes(before, req_prod_, ring_.load(ring_.header().req_event));
  }

  /// Returns the number of responses that can be taken now. nullopt: the peer published more
  /// responses than there are requests in flight, so the ring can no longer be trusted.
  [[nodiscard]] std::optional<std::uint32_t> available() noexcept {
    const auto count = ring_.load(ring_.header().rsp_prod) - rsp_cons_;
    if (count > published_ - rsp_cons_) return std::nullopt;
    return count;
  }

  /// Takes the next response and returns a copy. Call at most available() times.
  [[nodiscard]] Response take() noexcept { return ring_.template copy_out<Response>(rsp_cons_++); }

  /// Returns a copy of the response `offset` entries after the next one. The response stays in the
  /// ring until consume().
  [[nodiscard]] Response peek(std::uint32_t offset) const noexcept {
    return ring_.template copy_out<Response>(rsp_cons_ + offset);
  }
  /// Removes `count` responses that peek() returned.
  void consume(std::uint32_t count) noexcept { rsp_cons_ += count; }

  /// Requests an event for the `distance`-th response from now (1 is the next one). Returns false
  /// if that response has already arrived: the peer might not send an event for it, so check the
  /// ring again (RING_FINAL_CHECK_FOR_RESPONSES).
  [[nodiscard]] bool arm(std::uint32_t distance = 1) noexcept {
    ring_.store(ring_.header().rsp_event, rsp_cons_ + distance);
    ring_.full_barrier();
    return ring_.load(ring_.header().rsp_prod) - rsp_cons_ < distance;
  }

  /// The index of the next request to add, which wraps at 2^32. Differences count requests, whether
  /// published or not.
  [[nodiscard]] std::uint32_t requests_put() const noexcept { return req_prod_; }

 private:
  shared_ring<stride> ring_;
  std::uint32_t req_prod_;   ///< req_prod_pvt
  std::uint32_t published_;  ///< the request index in shared memory; never read back
  std::uint32_t rsp_cons_;
};

}  // namespace xenpv::ring
