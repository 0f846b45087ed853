// One queue's requests, from submit to answer, over a shared ring and granted pages: what a
// frontend does between two turns of the event loop. Neither Asio nor Xen: memory comes from
// outside, time is an argument, events and everything that concerns other queues go to the
// engine_host.
//
// One thread. Trusts nothing in the ring: a response that does not fit fails the engine, with a
// named error, and answers every request with it.
#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "blkfront/planner.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/blk/geometry.hpp"
#include "xenpv/blk/page_pool.hpp"
#include "xenpv/blk/request.hpp"
#include "xenpv/blkfront/statistics.hpp"
#include "xenpv/ring/blkif_ring.hpp"

namespace xenpv::blkfront {

/// Pages of a pool and the references they are granted by, in page order.
struct granted_pool {
  std::shared_ptr<blk::page_pool> pages;
  std::vector<grant_ref> refs;
};

struct engine_setup {
  /// Initialised before the backend was told of it, unused since.
  ring::blkif_front_ring ring;
  granted_pool data;
  granted_pool indirect;  ///< may be empty: no indirect requests then
  blk::geometry shape;
  std::uint32_t unit = 512;  ///< bytes that the backend counts sectors in
  unsigned segments = 11;    ///< of the largest request
  bool flush_cache = false;
  bool barrier = false;
  bool only_queue = true;  ///< a barrier orders one ring
  std::uint16_t handle = 0;
};

class engine_host {
 public:
  /// Pages came back while requests wait for some: call start() soon, not from here.
  virtual void wanted() = 0;
  /// This queue wants to merge bytes into a sector: answer with engine::sector_locked(). Sectors
  /// are named by their first byte.
  virtual void lock_sector(std::uint64_t sector) = 0;
  virtual void unlock_sector(std::uint64_t sector) = 0;
  /// The answer to engine::hold_sector().
  virtual void sector_held(std::uint64_t sector) = 0;
  /// The backend took a feature back: shape() has changed.
  virtual void shape_changed() = 0;
  /// A request whose request::device_part::flags are set is about to be answered.
  virtual void marked_answered(blk::request& r) { (void)r; }

 protected:
  ~engine_host() = default;
};

/// Requests whose time is up, for the log.
struct overdue {
  std::size_t requests = 0;    ///< answered with errc::timed_out just now
  std::size_t unanswered = 0;  ///< ring requests the backend has had for that long
};

class engine {
 public:
  engine(engine_setup setup, engine_host& host);
  ~engine();
  engine(const engine&) = delete;
  engine& operator=(const engine&) = delete;

  [[nodiscard]] const blk::geometry& shape() const noexcept { return setup_.shape; }
  /// The disk was resized, or its medium changed. Brings no feature back that is off.
  void reshape(const blk::geometry& shape) noexcept;

  /// Takes `r`; it is answered from within start(), drain(), check_deadlines() or fail().
  void submit(blk::request& r) noexcept {
    ++unfinished_;
    r.status = no_error_;
    r.device = {};
    r.device.order = ++order_;
    fresh_.push(r);
  }

  /// Hands to the ring what fits and publishes it. True: an event is due to the backend. `now`: ns
  /// of a steady clock.
  [[nodiscard]] bool start(std::uint64_t now) noexcept;
  /// Takes what the backend answered. True if there was anything.
  bool drain(std::uint64_t now) noexcept;
  /// Whether drain() would find something: one look at shared memory.
  [[nodiscard]] bool has_answers() noexcept { return ring_.available().value_or(1) != 0; }
  /// Asks for an event at the `distance`-th answer from here. False: look again first.
  [[nodiscard]] bool arm(std::uint32_t distance) noexcept { return ring_.arm(distance); }

  /// Answers requests older than `limit` with errc::timed_out. What the backend may still write to
  /// is kept back until it answers.
  [[nodiscard]] overdue check_deadlines(std::uint64_t now, std::uint64_t limit) noexcept;
  /// Answers everything with `why`, now and from now on. The first reason stays.
  void fail(error why) noexcept;
  [[nodiscard]] const std::optional<error>& failure_reason() const noexcept { return failure_; }
  /// Gives up the ring, whose backend is lost, and hands all unanswered requests back, in the order
  /// they were submitted, not answered. They can be submitted anew, to another engine, as they are.
  /// This one fails from then on.
  [[nodiscard]] std::vector<blk::request*> surrender();
  /// The clock went on for that long while nobody here could: no deadline is nearer for it.
  void forgive(std::uint64_t frozen_ns) noexcept;

  [[nodiscard]] std::uint32_t in_flight() const noexcept { return ring_.in_flight(); }
  /// Nothing is with the engine: no request, and no page that the backend may touch.
  [[nodiscard]] bool is_idle() const noexcept;
  /// Whether somebody waits for an answer.
  [[nodiscard]] std::size_t unfinished() const noexcept { return unfinished_; }

  /// For other queues' read-modify-write: from engine_host::sector_held() until release_sector(),
  /// no write of this queue touches the sector.
  void hold_sector(std::uint64_t sector);
  void release_sector(std::uint64_t sector) noexcept;
  /// The answer to engine_host::lock_sector().
  void sector_locked(std::uint64_t sector) noexcept;

  [[nodiscard]] queue_statistics statistics() const noexcept;
  [[nodiscard]] queue_statistics& counters() noexcept { return statistics_; }

 private:
  /// `simple`: data of one request, whole, in one segment; see engine_simple.cpp.
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
  struct merge;
  struct orphan_pages;

  /// A ring request in flight.
  struct slot {
    blk::request* r = nullptr;  ///< of a flush: the first of a chain
    std::uint64_t id = 0;       ///< as in the ring; the serial number tells a late answer
    std::uint64_t started_ns = 0;
    stretch bytes;          ///< of the device
    blk::page_chain pages;  ///< the engine's own, for data
    blk::page_chain indirect;
    merge* merging = nullptr;
    orphan_pages* kept = nullptr;  ///< pages of an abandoned lease
    slot_kind kind = slot_kind::free;
    wire::blkif_op op = wire::blkif_op::read;  ///< that the answer must name
    std::uint16_t segments = 0;
  };
  /// First in, first out, through request::device.next.
  struct request_list {
    blk::request* first = nullptr;
    blk::request* last = nullptr;
    [[nodiscard]] bool empty() const noexcept { return first == nullptr; }
    void push(blk::request& r) noexcept {
      r.device.next = nullptr;
      (last == nullptr ? first : last->device.next) = &r;
      last = &r;
    }
    blk::request* pop() noexcept {
      auto* const r = first;
      if (r == nullptr) return nullptr;
      first = std::exchange(r->device.next, nullptr);
      if (first == nullptr) last = nullptr;
      return r;
    }
    void prepend(request_list other) noexcept;
  };
  /// A piece of a request that has to be sent again, in direct requests.
  struct again {
    blk::request* r;
    stretch bytes;
  };
  struct pages_waiter : blk::page_waiter {
    engine* owner = nullptr;
  };
  struct held_sector {
    std::uint64_t sector;
    bool reported;
  };

  // engine_submit.cpp
  [[nodiscard]] std::error_code check(const blk::request& r) const noexcept;
  [[nodiscard]] bool prepare(blk::request& r) noexcept;
  void accept_fresh(std::uint64_t now) noexcept;
  void begin(blk::request& r) noexcept;
  [[nodiscard]] bool is_held(const blk::request& r, const stretch& bytes) const noexcept;
  void add_merge(blk::request& r, const stretch& bytes);

  // engine_simple.cpp
  [[nodiscard]] bool start_simple(blk::request& r) noexcept;
  void answer_simple(slot& s) noexcept;

  // engine_start.cpp
  [[nodiscard]] bool start_flush() noexcept;
  [[nodiscard]] bool start_merges() noexcept;
  [[nodiscard]] bool start_again() noexcept;
  void start_pending(bool enough_pages) noexcept;
  [[nodiscard]] bool start_request(blk::request& r) noexcept;
  [[nodiscard]] bool start_discard(blk::request& r) noexcept;
  [[nodiscard]] std::uint64_t start_piece(blk::request& r, const stretch& rest,
                                          bool direct) noexcept;
  [[nodiscard]] std::uint32_t segments_allowed(std::uint32_t wanted, bool direct) const noexcept;
  [[nodiscard]] bool uses_lease(const blk::request& r) const noexcept;
  slot& take_slot(slot_kind kind, wire::blkif_op op, const stretch& bytes) noexcept;
  void put_data(slot& s, blk::page_index first_page, std::uint64_t position) noexcept;
  void put_direct(slot& s, blk::page_index page, std::uint64_t position) noexcept;
  void put_indirect(slot& s, blk::page_index page, std::uint64_t position) noexcept;
  void lack_pages() noexcept;

  // engine_answer.cpp
  void handle(const wire::blkif_response& response) noexcept;
  [[nodiscard]] slot* find_slot(const wire::blkif_response& response) noexcept;
  void refuse(const wire::blkif_response& response) noexcept;
  void release(slot& s) noexcept;
  void answer_data(slot& s, outcome result) noexcept;
  void answer_flush(slot& s, outcome result) noexcept;
  void answer_discard(slot& s, outcome result) noexcept;
  void answer_merge(slot& s, outcome result) noexcept;
  void answer_orphan(slot& s) noexcept;
  void copy_back(const slot& s) noexcept;
  void piece_done(blk::request& r, std::error_code status) noexcept;
  void conclude(blk::request& r) noexcept;
  void finish(blk::request& r) noexcept;
  void end_merge(merge& m, std::error_code status) noexcept;
  void check_holds() noexcept;
  [[nodiscard]] bool is_writing(std::uint64_t sector) const noexcept;

  // engine_deadline.cpp
  [[nodiscard]] std::vector<blk::request*> unfinished_requests(
      std::uint64_t submitted_before) const;
  void time_out(blk::request& r) noexcept;
  void forget_all() noexcept;
  void orphan_slots(blk::request& r) noexcept;
  void forget_queued(blk::request& r) noexcept;
  void finish_all(request_list list, std::error_code status) noexcept;

  engine_setup setup_;
  ring::blkif_front_ring& ring_ = setup_.ring;
  engine_host& host_;
  std::uint64_t sector_mask_;
  std::uint64_t now_ = 0;
  std::vector<slot> slots_;
  std::vector<std::uint16_t> free_slots_;  ///< last in, first out
  std::uint64_t serial_ = 0;

  request_list fresh_;     ///< submitted since the last start()
  request_list refused_;   ///< to be answered with the status they have
  request_list pending_;   ///< wait for ring entries or pages; the first ones may be partly sent
  request_list parked_;    ///< writes to held sectors
  request_list flushing_;  ///< wait for the next flush
  bool flush_in_flight_ = false;
  std::deque<again> again_;
  std::list<merge> merges_;
  std::deque<merge*> ready_merges_;  ///< have their lock, need a ring entry
  blk::page_chain merge_pages_;      ///< kept back, so that a merge never waits for leases
  std::vector<held_sector> holds_;
  std::list<orphan_pages> orphans_;
  pages_waiter waiter_;
  std::size_t unfinished_ = 0;
  std::uint64_t order_ = 0;
  std::optional<error> failure_;
  /// Copied where a status is reset: making one anew is a call of the library each time.
  std::error_code no_error_;
  std::uint32_t published_;  ///< requests put when the ring was last published
  queue_statistics statistics_;
};

}  // namespace xenpv::blkfront
