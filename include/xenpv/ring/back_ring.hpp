// The backend end of a shared ring: takes requests and adds responses (xen/io/ring.h BACK_RING_*).
//
// Owned by one thread. Handles indices and bytes only and does not interpret entries. Does not send
// events: publish() returns whether to send one.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "xenpv/ring/shared_ring.hpp"

namespace xenpv::ring {

/// `Request` is the largest request layout of the protocol.
template <class Request, class Response>
class back_ring {
 public:
  /// Bytes per entry.
  static constexpr std::size_t stride = std::max(sizeof(Request), sizeof(Response));

  /// The initial indices of a new connection.
  enum class start {
    at_zero,       ///< BACK_RING_INIT: indices start at 0, as in QEMU and tapdisk
    at_published,  ///< BACK_RING_ATTACH: start at the published response index, as in blkback
  };

  /// `memory` is the mapped ring: whole, virtually contiguous pages that outlive this object.
  explicit back_ring(std::span<std::byte> memory, start position = start::at_zero) noexcept
      : ring_(memory) {
    if (position == start::at_published) rsp_prod_ = ring_.load(ring_.header().rsp_prod);
    published_ = req_cons_ = rsp_prod_;
  }

  /// The number of entries; a power of two.
  [[nodiscard]] std::uint32_t size() const noexcept { return ring_.size(); }
  /// Number of requests taken but not yet answered.
  [[nodiscard]] std::uint32_t in_flight() const noexcept { return req_cons_ - rsp_prod_; }

  /// Returns the number of requests that can be taken now. nullopt: the frontend published more
  /// requests than the ring can hold (RING_REQUEST_PROD_OVERFLOW), or moved its index back past
  /// requests that were already taken.
  [[nodiscard]] std::optional<std::uint32_t> available() noexcept {
    const auto open = ring_.load(ring_.header().req_prod) - rsp_prod_;
    if (open > size() || open < in_flight()) return std::nullopt;
    return open - in_flight();
  }

  /// Takes the next request and returns a copy. Call at most available() times.
  [[nodiscard]] Request take() noexcept { return ring_.template copy_out<Request>(req_cons_++); }

  /// Adds a response. Every request needs exactly one response, in any order. publish() makes the
  /// responses visible to the peer.
  void put(const Response& response) noexcept {
    ring_.copy_in(rsp_prod_++, response, sizeof response);
  }

  /// Publishes the responses added since the last call. Returns true if the peer requested an
  /// event.
  [[nodiscard]] bool publish() noexcept {
    const auto before = published_;
    if (before == rsp_prod_) return false;
    published_ = rsp_prod_;
    ring_.store(ring_.header().rsp_prod, rsp_prod_);
    ring_.full_barrier();
    return passes(before, rsp_prod_, ring_.load(ring_.header().rsp_event));
  }

  /// Requests an event for the next request. Returns false if requests have arrived in the
  /// meantime: the peer might not send an event for them, so check the ring again
  /// (RING_FINAL_CHECK_FOR_REQUESTS).
  [[nodiscard]] bool arm() noexcept {
    ring_.store(ring_.header().req_event, req_cons_ + 1);
    ring_.full_barrier();
    return ring_.load(ring_.header().req_prod) == req_cons_;
  }

  /// Violates the protocol deliberately: advances the response index by `extra` without adding
  /// responses. For fault injection only.
  void jump(std::uint32_t extra) noexcept { rsp_prod_ += extra; }

 private:
  shared_ring<stride> ring_;
  std::uint32_t req_cons_ = 0;
  std::uint32_t rsp_prod_ = 0;  ///< rsp_prod_pvt
  std::uint32_t published_ = 0;
};

}  // namespace xenpv::ring
