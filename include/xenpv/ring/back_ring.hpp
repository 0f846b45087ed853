// The backend's end of a shared ring: takes requests, puts responses (xen/io/ring.h BACK_RING_*).
//
// Owned by one thread. Knows indices and bytes, not what they mean, and sends no event: its owner
// is told when one is due.
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

  /// Where a new connection starts.
  enum class start {
    at_zero,       ///< BACK_RING_INIT: indices 0, as QEMU and tapdisk do
    at_published,  ///< BACK_RING_ATTACH: at the responses the ring already shows, as blkback does
  };

  explicit back_ring(std::span<std::byte> memory, start from = start::at_zero) noexcept
      : ring_(memory) {
    if (from == start::at_published) rsp_prod_ = ring_.load(ring_.header().rsp_prod);
    published_ = req_cons_ = rsp_prod_;
  }

  [[nodiscard]] std::uint32_t size() const noexcept { return ring_.size(); }
  /// Requests taken and not yet answered.
  [[nodiscard]] std::uint32_t in_flight() const noexcept { return req_cons_ - rsp_prod_; }

  /// Requests that can be taken now. nullopt: the frontend claims more than the ring holds
  /// (RING_REQUEST_PROD_OVERFLOW), or takes back requests that were taken.
  [[nodiscard]] std::optional<std::uint32_t> available() noexcept {
    const auto open = ring_.load(ring_.header().req_prod) - rsp_prod_;
    if (open > size() || open < in_flight()) return std::nullopt;
    return open - in_flight();
  }

  /// A copy of the next request; only as many as available() said.
  [[nodiscard]] Request take() noexcept { return ring_.template copy_out<Request>(req_cons_++); }

  /// Adds a response; the peer sees it after publish(). One for each request taken, in any order.
  void put(const Response& response) noexcept {
    ring_.copy_in(rsp_prod_++, response, sizeof response);
  }

  /// Shows the peer what was put. True: it asked for an event.
  [[nodiscard]] bool publish() noexcept {
    const auto before = published_;
    if (before == rsp_prod_) return false;
    published_ = rsp_prod_;
    ring_.store(ring_.header().rsp_prod, rsp_prod_);
    ring_.full_barrier();
    return passes(before, rsp_prod_, ring_.load(ring_.header().rsp_event));
  }

  /// Asks for an event at the next request. False: some came meanwhile and the event may not come:
  /// look again (RING_FINAL_CHECK_FOR_REQUESTS).
  [[nodiscard]] bool arm() noexcept {
    ring_.store(ring_.header().req_event, req_cons_ + 1);
    ring_.full_barrier();
    return ring_.load(ring_.header().req_prod) == req_cons_;
  }

  /// Breaks the protocol on purpose: moves the published response index on by `extra` without
  /// responses, as a backend gone mad would. For fault injection only.
  void jump(std::uint32_t extra) noexcept { rsp_prod_ += extra; }

 private:
  shared_ring<stride> ring_;
  std::uint32_t req_cons_ = 0;
  std::uint32_t rsp_prod_ = 0;  ///< rsp_prod_pvt
  std::uint32_t published_ = 0;
};

}  // namespace xenpv::ring
