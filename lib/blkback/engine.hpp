// Executes the requests of one ring as the selected kind of backend does: consumes and checks the
// requests, maps or copies the frontend's pages, submits the requests to the store, and responds.
//
// Owned by one thread, which makes all calls and runs the store's completions. Does not use Asio,
// Xen, a clock or events: the owner calls run() after an event or when the on_wake() callback
// requests it, and sends an event if the result of run() requires one. A request does not allocate
// memory unless it is larger than all previous requests. The frontend is not trusted: each request
// is copied out of the ring once, then checked, then used.
//
//   page_array pages(memory);  memory_store disk(medium);
//   engine backend(ring, pages, disk, {.disk = usual_config(personality_of(kind), size),
//                                      .persistent = true});
//   ... the frontend publishes requests ...
//   if (backend.run().notify) ...           // responses are in the ring
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "blkback/disk_config.hpp"
#include "blkback/disk_fault.hpp"
#include "blkback/foreign_memory.hpp"
#include "blkback/grant_cache.hpp"
#include "blkback/store.hpp"
#include "xenpv/ring/blkif_ring.hpp"

namespace xenpv::blkback {

struct engine_options {
  disk_config disk;
  /// Both ends wrote `feature-persistent`=1: grants stay mapped and are always mapped writable.
  bool persistent = false;
};

/// Counters since construction.
struct engine_statistics {
  std::array<std::uint64_t, 7> requests{};  ///< by operation; separate entry for `indirect`
  std::uint64_t unknown_requests = 0;
  std::uint64_t segments = 0;
  std::uint64_t bytes_read = 0;
  std::uint64_t bytes_written = 0;
  std::uint64_t responses = 0;
  std::uint64_t failed = 0;             ///< responses that are not OKAY
  std::uint64_t batches = 0;            ///< number of times that responses were published
  std::uint64_t events_due = 0;         ///< batches that required an event
  std::uint64_t grants_used_twice = 0;  ///< uses of a persistent grant that was in use already
};

class engine {
 public:
  /// `ring`: the shared pages, mapped contiguously. `ring`, `memory` and `disk` must outlive the
  /// engine.
  engine(std::span<std::byte> ring, foreign_memory& memory, store& disk,
         const engine_options& options);
  /// Requires in_store() to be 0. Unmaps persistent grants.
  ~engine();
  engine(const engine&) = delete;
  engine& operator=(const engine&) = delete;

  struct outcome {
    bool notify = false;  ///< the frontend requires an event
    bool more = false;  ///< the budget is exhausted: call run() again without waiting for an event
  };
  /// Consumes at most `budget` of the available requests, publishes the completed responses, and
  /// requests an event for the next request.
  outcome run(std::uint32_t budget = ~std::uint32_t{0});
  /// Sets the callback for requests that the store completes outside run(). The engine calls it at
  /// most once until the next run().
  void on_wake(std::function<void()> wake) { wake_ = std::move(wake); }

  /// Takes effect with the next request. Stalled requests wait for the next run(); writes delayed
  /// by the late fault are submitted immediately.
  void set_faults(const disk_faults& faults);
  /// Sets the size of the disk in bytes. Does not affect requests in flight in the store.
  void set_size(std::uint64_t size) noexcept { options_.disk.size = size; }
  /// Stops consuming requests. Consumed requests are still executed and completed; those delayed by
  /// the late fault are submitted immediately.
  void stop_taking() noexcept {
    stopped_ = true;
    carry_out(late_.size());
  }

  /// Number of requests in flight in the store, including a barrier that waits for the others.
  [[nodiscard]] std::uint32_t in_store() const noexcept {
    return in_store_ + (draining_ == nullptr ? 0 : 1);
  }
  /// Number of writes and discards delayed by the late fault, which are executed in order.
  /// in_store() includes them.
  [[nodiscard]] std::size_t late() const noexcept { return late_.size(); }
  [[nodiscard]] std::chrono::nanoseconds late_time() const noexcept { return faults_.late_by; }
  /// Submits the `count` oldest late requests to the store; wakes the owner when they complete.
  void carry_out(std::size_t count) noexcept;
  /// Number of responses held back by the delay fault, which are released in order.
  [[nodiscard]] std::size_t held() const noexcept { return held_.size(); }
  [[nodiscard]] std::chrono::nanoseconds hold_time() const noexcept { return faults_.delay; }
  /// Publishes the `count` oldest held responses. Returns true if the frontend requires an event.
  [[nodiscard]] bool release(std::size_t count);

  /// True if the frontend claimed more requests than the ring can hold; the ring is then no longer
  /// served.
  [[nodiscard]] bool halted() const noexcept { return halted_; }
  /// True if the vanish fault occurred; the ring is then no longer served.
  [[nodiscard]] bool vanished() const noexcept { return vanished_; }
  [[nodiscard]] const engine_statistics& statistics() const noexcept { return statistics_; }
  [[nodiscard]] std::size_t persistent_grants() const noexcept { return cache_.size(); }

 private:
  struct held_pages {
    std::vector<grant_cache::entry*> persistent;
    foreign_memory::mapping mapping = 0;
  };
  struct slot : store_request {
    engine* owner = nullptr;
    slot* next_free = nullptr;
    std::uint64_t id = 0;
    wire::blkif_op operation{};  ///< for the response
    bool write_next = false;     ///< `op` is the flush that precedes the write
    held_pages pages;
    std::vector<iovec> vectors;
    std::vector<foreign_piece> copies;
    std::unique_ptr<std::byte[]> bounce;
  };
  /// A read, write, barrier or flush, decoded from the direct or the indirect request layout.
  struct transfer {
    wire::blkif_op op;  ///< read, write, write_barrier, flush_diskcache
    std::uint64_t id;
    std::uint64_t sector_number;
    std::span<const wire::blkif_segment> segments;
    bool has_too_many = false;
  };

  // engine.cpp: the ring, responses, faults
  [[nodiscard]] bool is_spent(const std::optional<std::uint32_t>& allowance) const noexcept;
  [[nodiscard]] bool is_blocked() const noexcept;
  std::uint32_t take_batch(std::uint32_t limit);
  void start(slot& s) noexcept;
  static void done(store_request& request, int error) noexcept;
  void complete(slot& s, int error) noexcept;
  void answer(slot& s, int error) noexcept;
  void respond(std::uint64_t id, wire::blkif_op operation, wire::blkif_status status);
  void pass_on(const wire::blkif_response& response);
  void emit(wire::blkif_response response);
  [[nodiscard]] bool publish();
  slot& take_slot() noexcept;
  void give_back(slot& s) noexcept;

  // engine_requests.cpp: decodes and checks requests
  void dispatch(const wire::blkif_request& request);
  void dispatch_indirect(const wire::blkif_indirect_request& request);
  void dispatch_discard(const wire::blkif_discard_request& request);
  void refuse_unknown(std::uint64_t id, wire::blkif_op op);
  void dispatch_transfer(const transfer& request);
  [[nodiscard]] wire::blkif_status check(const transfer& request, std::uint64_t& bytes) const;
  [[nodiscard]] wire::blkif_status refusal(wire::blkif_op op) const noexcept;
  [[nodiscard]] bool fails_by_fault() const noexcept;
  [[nodiscard]] bool is_inside(std::uint64_t sector, std::uint64_t bytes) const noexcept;

  // engine_pages.cpp: access to the frontend's pages
  [[nodiscard]] bool read_descriptors(const wire::blkif_indirect_request& request);
  [[nodiscard]] bool access_pages(slot& s, const transfer& request);
  [[nodiscard]] bool copy_in(slot& s, const transfer& request);
  [[nodiscard]] bool map(std::span<const std::uint32_t> refs, bool writable, held_pages& held);
  [[nodiscard]] bool map_persistently(std::span<const std::uint32_t> refs, held_pages& held);
  void release_pages(held_pages& held) noexcept;

  engine_options options_;
  const personality& personality_;
  const int unit_shift_;  ///< converts units of the ring's sector fields to bytes
  ring::blkif_back_ring ring_;
  foreign_memory& memory_;
  store& store_;
  std::function<void()> wake_;

  std::vector<slot> slots_;
  slot* free_ = nullptr;
  slot* draining_ = nullptr;  ///< a barrier that waits for the requests before it
  std::uint32_t in_store_ = 0;

  disk_faults faults_;
  std::uint64_t fault_requests_ = 0;  ///< since the faults were set
  std::uint64_t fault_responses_ = 0;
  std::uint64_t fault_emitted_ = 0;
  std::uint64_t fault_writes_ = 0;
  std::deque<slot*> late_;
  std::deque<wire::blkif_response> held_;
  std::vector<wire::blkif_response> batch_;  ///< held back by the reorder fault

  grant_cache cache_;
  std::vector<foreign_memory::mapping> persistent_mappings_;
  held_pages descriptor_pages_;
  std::vector<wire::blkif_segment> descriptors_;
  std::vector<std::uint32_t> refs_;
  std::vector<std::byte*> pages_;
  std::vector<std::uint32_t> missing_;
  std::vector<std::size_t> missing_at_;
  std::vector<std::byte*> missing_pages_;

  bool running_ = false;
  bool unpublished_ = false;
  bool woken_ = false;
  bool stopped_ = false;
  bool halted_ = false;
  bool vanished_ = false;
  engine_statistics statistics_;
};

}  // namespace xenpv::blkback
