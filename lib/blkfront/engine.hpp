// Processes one queue's requests from submission to completion, over a shared ring and granted
// pages. Uses neither Asio nor Xen: memory and the current time are passed in, and events and
// messages to other queues go through the engine_host.
//
// Used on one thread. Does not trust the ring: an invalid response fails the engine and all its
// requests with a descriptive error.
//
// Only disown() decides which resources the backend may still access. If a request completes before
// the backend has responded to all its ring requests, the backend keeps the outstanding ring
// requests, their pages and the byte range that they write. The pages return to the pool with the
// backend's response or not at all. Writes to that range wait, on every queue, until the backend
// responds or the connection ends.
#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "blkfront/engine_host.hpp"
#include "blkfront/flush_ledger.hpp"
#include "blkfront/planner.hpp"
#include "blkfront/request_list.hpp"
#include "blkfront/sector_merger.hpp"
#include "blkfront/write_gate.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/blk/page_pool.hpp"
#include "xenpv/blk/request.hpp"
#include "xenpv/blkfront/statistics.hpp"

namespace xenpv::blkfront {

/// Timed-out requests, for the log.
struct overdue {
  std::size_t requests = 0;    ///< completed with errc::timed_out, now or soon
  std::size_t unanswered = 0;  ///< ring requests outstanding for longer than the limit
};

class engine {
 public:
  /// Bits in request::device_part::flags that the caller sets after submit().
  static constexpr std::uint8_t caller_marks = 0x0F;
  /// Marks a flush or FUA write that must fail: it may cover lost writes that have not been
  /// reported yet by a failed flush (flush_ledger).
  static constexpr std::uint8_t in_doubt = 0x40;

  engine(engine_setup setup, engine_host& host);
  ~engine();
  engine(const engine&) = delete;
  engine& operator=(const engine&) = delete;

  [[nodiscard]] const blk::geometry& shape() const noexcept { return setup_.shape; }
  /// Call after the disk was resized or its medium changed. Does not enable features that are off.
  void reshape(const blk::geometry& shape) noexcept;

  /// Takes ownership of `r`, which completes within send(), drain(), check_deadlines(),
  /// fence_raised() or fail().
  void submit(blk::request& r) noexcept {
    ++unfinished_;
    r.status = no_error_;
    r.device = {};
    r.device.order = ++order_;
    fresh_.push(r);
  }

  /// Fills the ring with requests and publishes them. Returns true if the backend must be notified.
  /// `now` is a steady-clock time in ns.
  [[nodiscard]] bool send(std::uint64_t now) noexcept;
  /// Consumes the backend's responses. Returns true if there were any.
  bool drain(std::uint64_t now) noexcept;
  /// Whether the ring contains responses for drain(). Reads shared memory once.
  [[nodiscard]] bool has_responses() noexcept { return ring_.available().value_or(1) != 0; }
  /// Requests an event for the response `distance` from now. Returns false if drain() must be
  /// called again first.
  [[nodiscard]] bool arm(std::uint32_t distance) noexcept { return ring_.arm(distance); }

  /// Completes requests with errc::timed_out if one of their ring requests has been outstanding for
  /// `limit`. The backend keeps the resources that it may still access (disown()). Requests that
  /// have not been sent do not time out.
  [[nodiscard]] overdue check_deadlines(std::uint64_t now, std::uint64_t limit) noexcept;
  /// The age of the oldest outstanding ring request, in ns; 0 if there is none.
  [[nodiscard]] std::uint64_t oldest_unanswered(std::uint64_t now) const noexcept;
  /// Fails all current and future requests with `reason`. A later call keeps the first reason.
  /// Pages of outstanding ring requests do not return to their pool.
  void fail(error reason) noexcept;
  [[nodiscard]] const std::optional<error>& failure_reason() const noexcept { return failure_; }
  /// Abandons the ring of a lost backend and returns all requests that have not completed, in order
  /// of submission. They can be submitted to another engine without changes. Afterwards this engine
  /// is in the failed state, and pages of outstanding ring requests do not return to their pool.
  [[nodiscard]] std::vector<blk::request*> take_unfinished();
  /// Extends all deadlines by a period during which this program did not run.
  void extend_deadlines(std::uint64_t frozen_ns) noexcept;

  [[nodiscard]] std::uint32_t in_flight() const noexcept { return ring_.in_flight(); }
  /// Whether all requests have completed and the backend has responded to all ring requests.
  [[nodiscard]] bool is_idle() const noexcept {
    return unfinished_ == 0 && (failure_ || ring_.in_flight() == 0);
  }
  /// The number of requests that have not completed.
  [[nodiscard]] std::size_t unfinished() const noexcept { return unfinished_; }

  /// Requests a write lock on the sector for read-modify-write on any queue. Between
  /// engine_host::sector_held() and release_sector(), this queue does not write to the sector.
  void hold_sector(std::uint64_t sector);
  void release_sector(std::uint64_t sector) noexcept { resume(gate_.release(sector)); }
  /// The reply to engine_host::lock_sector().
  void sector_locked(std::uint64_t sector) noexcept;

  /// Blocks writes to `bytes` until lower_fence(), because a timed-out write of another queue is
  /// still in flight at the backend. `id` is unique among the device's fences.
  void raise_fence(std::uint64_t id, const stretch& bytes) { gate_.raise_fence(id, bytes); }
  void lower_fence(std::uint64_t id) noexcept { resume(gate_.lower_fence(id)); }
  /// The reply to engine_host::raise_fences().
  void fence_raised(std::uint64_t id) noexcept;

  [[nodiscard]] queue_statistics statistics() const noexcept;
  [[nodiscard]] queue_statistics& counters() noexcept { return statistics_; }

 private:
  /// `simple`: all of a request's data in one segment. `orphan`: the request completed before the
  /// response arrived.
  enum class slot_kind : std::uint8_t {
    free,
    simple,
    data,
    flush,
    discard,
    merge_read,
    merge_write,
    orphan
  };
  enum class outcome : std::uint8_t { okay, failed, unsupported };
  enum class flush_mode : std::uint8_t { none, cache, barrier, ignored };
  struct orphaned_request;

  /// A ring request in flight.
  struct slot {
    blk::request* r = nullptr;  ///< for a flush: the first of a chain of requests
    std::uint64_t id =
        0;  ///< the ID in the ring, with a serial number for detecting late responses
    std::uint64_t started_ns = 0;
    stretch bytes;          ///< byte range on the device
    blk::page_chain pages;  ///< for data; owned by the engine
    blk::page_chain indirect;
    sector_merger::merge* merging = nullptr;
    orphaned_request* orphan_of = nullptr;
    slot_kind kind = slot_kind::free;
    wire::blkif_op op = wire::blkif_op::read;  ///< expected in the response
    std::uint16_t segments = 0;
    bool uses_spare = false;  ///< `pages` are from spare_pages_
  };
  /// A part of a request that must be resent as direct requests.
  struct again {
    blk::request* r;
    stretch bytes;
  };
  struct pages_waiter : blk::page_waiter {
    engine* owner = nullptr;
  };

  // engine.cpp: requests and their order
  [[nodiscard]] std::error_code check(const blk::request& r) const noexcept;
  [[nodiscard]] bool prepare(blk::request& r) noexcept;
  void note_doubt(blk::request& r) const noexcept;
  void accept_fresh() noexcept;
  void begin(blk::request& r) noexcept;
  void add_merge(blk::request& r, const stretch& bytes);
  void resume(request_list woken) noexcept;
  [[nodiscard]] bool send_flush() noexcept;
  [[nodiscard]] bool send_merges() noexcept;
  [[nodiscard]] bool send_again() noexcept;
  void send_pending(bool enough_pages) noexcept;
  [[nodiscard]] bool send_waiting(request_list& waiting, request_list& sent) noexcept;
  void wait_for_pages(blk::request& r) noexcept;
  [[nodiscard]] bool has_earlier_write(const stretch& sector, std::uint64_t order) const noexcept;
  void check_holds(const stretch& bytes) noexcept;
  [[nodiscard]] flush_mode choose_flush_mode() const noexcept;
  void fail_doubtful_flushes() noexcept;
  void piece_done(blk::request& r, std::error_code status) noexcept;
  void conclude(blk::request& r) noexcept;
  void finish(blk::request& r) noexcept;
  void finish_all(request_list list, std::error_code status) noexcept;
  void finish_ignored_flushes(request_list list) noexcept;

  // engine_ring.cpp: slots, segments, responses
  [[nodiscard]] bool send_simple(blk::request& r) noexcept;
  [[nodiscard]] bool send_request(blk::request& r) noexcept;
  [[nodiscard]] bool send_discard(blk::request& r) noexcept;
  [[nodiscard]] std::uint64_t send_piece(blk::request& r, const stretch& rest,
                                         bool direct) noexcept;
  [[nodiscard]] std::uint32_t segments_allowed(std::uint32_t needed, bool direct) const noexcept;
  [[nodiscard]] bool uses_lease(const blk::request& r) const noexcept;
  [[nodiscard]] bool takes_pages(const blk::request& r) const noexcept;
  [[nodiscard]] std::uint32_t pages_for(const blk::request& r, std::uint32_t needed) const noexcept;
  slot& take_slot(slot_kind kind, wire::blkif_op op, const stretch& bytes) noexcept;
  void put_flush() noexcept;
  void put_merge(sector_merger::merge& m) noexcept;
  void put_data(slot& s, blk::page_index first_page, std::uint64_t position) noexcept;
  void put_direct(slot& s, blk::page_index page, std::uint64_t position) noexcept;
  void put_indirect(slot& s, blk::page_index page, std::uint64_t position) noexcept;
  void lack_pages() noexcept;
  /// The maximum number of responses that drain() consumes in one batch.
  static constexpr std::size_t claimed_at_once = 32;
  [[nodiscard]] bool claim(std::span<wire::blkif_response> responses) noexcept;
  void claim_pages(const slot& s) noexcept;
  void handle(const wire::blkif_response& response) noexcept;
  [[nodiscard]] slot* find_slot(const wire::blkif_response& response) noexcept;
  void refuse(const wire::blkif_response& response) noexcept;
  void release(slot& s) noexcept;
  void copy_back(const slot& s) noexcept;
  void answer_simple(slot& s) noexcept;
  void answer_data(const slot& s, outcome result) noexcept;
  void answer_flush(const slot& s, outcome result) noexcept;
  void answer_discard(const slot& s, outcome result) noexcept;
  void answer_merge(const slot& s, outcome result) noexcept;
  void answer_orphan(const slot& s) noexcept;

  // engine_end.cpp: deadlines, failure, return of requests
  orphaned_request* disown(blk::request& r) noexcept;
  void forget_queued(blk::request& r) noexcept;
  void end_orphan(orphaned_request& orphan) noexcept;
  void time_out(blk::request& r, request_list& done) noexcept;
  [[nodiscard]] std::vector<blk::request*> unfinished_requests() const;
  [[nodiscard]] std::vector<blk::request*> late_requests(std::uint64_t limit) const;
  void forget_lists() noexcept;

  engine_setup setup_;
  ring::blkif_front_ring& ring_ = setup_.ring;
  engine_host& host_;
  std::uint64_t sector_mask_;
  std::uint64_t now_ = 0;
  std::vector<slot> slots_;
  std::vector<std::uint16_t> free_slots_;  ///< used in LIFO order
  std::uint64_t serial_ = 0;

  request_list fresh_;      ///< submitted since the last send()
  request_list refused_;    ///< to be completed with their current status
  request_list pending_;    ///< waiting for ring entries; the first may be partially sent
  request_list small_;      ///< small requests waiting for pages; sent before large_
  request_list large_;      ///< large requests waiting for pages; may be partially sent
  unsigned overtaken_ = 0;  ///< small requests sent while large requests wait
  request_list flushing_;   ///< waiting for the next flush
  bool flush_in_flight_ = false;
  bool barrier_worked_ = false;
  flush_mode flush_mode_ = flush_mode::none;
  flush_ledger::snapshot flush_covers_;  ///< writes covered by the flush in flight
  std::deque<again> again_;
  write_gate gate_;
  sector_merger merger_;
  /// Used when the pool is out of pages. Spare pages are never leased, so requests that use them
  /// make progress even if all leased pages belong to waiting requests. Write locks may therefore
  /// wait for such requests. Empty if the pool is too small.
  blk::page_chain spare_pages_;
  bool has_spare_pages_ = false;
  std::list<orphaned_request> orphans_;
  pages_waiter waiter_;
  std::size_t unfinished_ = 0;
  std::uint64_t order_ = 0;
  std::optional<error> failure_;
  /// Copied to reset a status: default construction is a library call.
  std::error_code no_error_;
  std::uint32_t published_;  ///< ring_.requests_put() at the last publication
  queue_statistics statistics_;
};

}  // namespace xenpv::blkfront
