// The backend's end of a shared ring: takes requests, puts responses (xen/io/ring.h BACK_RING_*).
//
// Owned by one thread. Handles indices and bytes only, and does not interpret entries. Sends no
// event: publish() returns whether one is due.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "xenpv/ring/shared_ring.hpp"

namespace xenpv::ring {

/// `Request` is the largest of the layouts a request may have.
template <class Request, class Response>
class back_ring {
 public:
  static constexpr std::size_t stride = std::max(sizeof(Request), sizeof(Response));

  /// The indices of a new connection.
  enum class start {
    at_zero,       ///< BACK_RING_INIT: indices 0, as in QEMU and tapdisk
    at_published,  ///< BACK_RING_ATTACH: the ring's published response index, as in blkback
  };

  explicit back_ring(std::span<std::byte> memory, start position = start::at_zero) noexcept
      : ring_(memory) {
    if (position == start::at_published) rsp_prod_ = ring_.load(ring_.header().rsp_prod);
    published_ = req_cons_ = rsp_prod_;
  }

  [[nodiscard]] std::uint32_t size() const noexcept { return ring_.size(); }
  /// Requests taken and not yet answered.
  [[nodiscard]] std::uint32_t in_flight() const noexcept { return req_cons_ - rsp_prod_; }

  /// Requests that can be taken now. nullopt: the frontend published more requests than the ring
  /// holds (RING_REQUEST_PROD_OVERFLOW), or moved its index back behind requests that were taken.
  [[nodiscard]] std::optional<std::uint32_t> available() noexcept {
    const auto open = ring_.load(ring_.header().req_prod) - rsp_prod_;
    if (open > size() || open < in_flight()) return std::nullopt;
    return open - in_flight();
  }

  /// Takes a copy of the next request; at most available() times.
  [[nodiscard]] Request take() noexcept { return ring_.template copy_out<Request>(req_cons_++); }

  /// Adds a response, one for each request taken, in any order. publish() makes it visible.
  void put(const Response& response) noexcept {
    ring_.copy_in(rsp_prod_++, response, sizeof response);
  }

  /// Publishes the responses added since the last call. True: the peer requested an event.
  [[nodiscard]] bool publish() noexcept {
    const auto before = published_;
    if (before == rsp_prod_) return false;
    published_ = rsp_prod_;
    ring_.store(ring_.header().rsp_prod, rsp_prod_);
    ring_.full_barrier();
    return passes(before, rsp_prod_, ring_.load(ring_.header().rsp_event));
  }

  /// Requests an event for the next request. False: requests arrived meanwhile, and the event may
  /// not be sent: check again (RING_FINAL_CHECK_FOR_REQUESTS).
  [[nodiscard]] bool arm() noexcept {
    ring_.store(ring_.header().req_event, req_cons_ + 1);
    ring_.full_barrier();
    return ring_.load(ring_.header().req_prod) == req_cons_;
  }

  /// Violates the protocol on purpose: advances the response index by `extra` without responses.
  /// For fault injection only.
  void jump(std::uint32_t extra) noexcept { rsp_prod_ += extra; }

 private:
  shared_ring<stride> ring_;
  std::uint32_t req_cons_ = 0;
  std::uint32_t rsp_prod_ = 0;  ///< rsp_prod_pvt
  std::uint32_t published_ = 0;
};

}  // namespace xenpv::ring
