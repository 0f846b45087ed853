// A hostile block backend: whatever it writes to the shared pages, the frontend engine must not
// crash, hang or lose a request.
//
// The input is a list of steps for an engine and both ends of its ring. At the end, either the
// backend behaves correctly or the device fails; in both cases, every request must complete.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "blkfront/engine.hpp"
#include "blkfront/sector_guard.hpp"
#include "fuzz/steps.hpp"

namespace {

using namespace xenpv;
using namespace xenpv::blkfront;
using fuzz::expect;
using fuzz::input;

constexpr std::uint32_t first_ref = 8;

class rig;

/// Deleted on completion, so that a sanitizer detects any later access by the engine.
struct tracked_request : blk::request {
  rig* owner = nullptr;
  std::vector<std::byte> bytes;
  std::optional<blk::lease> lease;
  std::vector<blk::page_index> lease_pages;
  bool submits_another = false;
};

/// An unanswered request as the backend reads it from the ring.
struct backend_request {
  std::uint64_t id;
  std::uint8_t operation;
  std::vector<blk::page_index> pages;
  stretch writes;  ///< byte range on the device
};

class rig final : private engine_host, private sector_guard::peer {
 public:
  explicit rig(input& source) : guard_(2, *this) {
    const auto choice = source.byte();
    const auto other = source.byte();
    const auto rings = std::size_t{1} << (choice & 1U);
    const std::size_t data = 14 + other % 32;
    const std::size_t indirect = (choice & 2U) != 0 ? 1 + other % 3 : 0;
    const auto total = rings + data + indirect;
    storage_.resize((total + 1) * page_size);
    void* start = storage_.data();
    auto space = storage_.size();
    std::align(page_size, total * page_size, start, space);
    memory_ = {static_cast<std::byte*>(start), total * page_size};
    ring_memory_ = memory_.first(rings * page_size);
    pool_ = std::make_shared<blk::page_pool>(memory_.subspan(rings * page_size, data * page_size));
    if (indirect != 0)
      descriptors_ = std::make_shared<blk::page_pool>(memory_.subspan((rings + data) * page_size));
    shape_.sector_size = (choice & 4U) != 0 ? 4096 : 512;
    unit_ = (choice & 64U) != 0 ? shape_.sector_size : 512U;
    shape_.size = 1U << 20;
    shape_.can_discard = shape_.can_secure_discard = true;
    shape_.discard_granularity = shape_.sector_size * (1U + other % 3);
    const bool flush_cache = (choice & 8U) != 0;
    const bool barrier = (choice & 16U) != 0;
    shape_.can_flush = flush_cache || barrier;
    // Start some rings just before their indices wrap.
    const std::uint32_t first = (choice & 32U) != 0 ? 0xFFFFFFF0U : 0;
    req_cons_ = rsp_prod_ = first;
    engine_setup setup{.ring = ring::blkif_front_ring(ring_memory_, first),
                       .data = {pool_, refs(0, data)},
                       .indirect = {descriptors_, refs(data, indirect)},
                       .shape = shape_,
                       .unit = unit_,
                       .segments = indirect != 0 ? 11 + other : 11U,
                       .flush_cache = flush_cache,
                       .barrier = barrier,
                       .only_queue = true,
                       .handle = 51728};
    engine_host& host = *this;
    engine_ = std::make_unique<engine>(std::move(setup), host);
    (void)engine_->arm(1);
  }

  void step(input& source) {
    switch (source.byte() % 14) {
      case 0:
      case 1:
      case 2:
        submit(source);
        break;
      case 3:
        turn();
        break;
      case 4:
        drain();
        break;
      case 5:
      case 6:
        complete(source.byte(), source.byte() % 4);
        break;
      case 7:
        respond_wrongly(source);
        break;
      case 8:
        scribble(source);
        break;
      case 9:
        now_ += std::uint64_t{source.byte()} * 1000;
        (void)engine_->check_deadlines(now_, 200'000);
        audit();
        break;
      case 10:
        (void)engine_->arm(source.byte());
        (void)engine_->has_responses();
        (void)engine_->statistics();
        break;
      case 11:
        other_queue(source.byte());
        break;
      case 12:
        shape_.size = std::uint64_t{source.byte()} << 13;
        shape_.read_only = (source.byte() & 7U) == 0;
        engine_->reshape(shape_);
        break;
      case 13:
        if (source.byte() == 13) fail();
        break;
    }
  }

  /// Lets the backend complete all requests and the other queue release its locks. No request, page
  /// or lock may then be left.
  void complete_all() {
    // An earlier step may have moved the producer index backwards.
    publish(rsp_prod_);
    auto before = progress();
    for (unsigned idle_rounds = 0; idle_rounds < 100; ++idle_rounds) {
      drain();
      turn();
      if (engine_->failure_reason()) return fail();
      release_other_queue();
      const bool settled = pending_.empty() && holds_asked_.empty() && other_locks_.empty();
      if (settled && !std::exchange(send_scheduled_, false) && requests_.empty()) break;
      while (!pending_.empty())
        complete(0, 0);
      const auto now = progress();
      if (std::exchange(before, now) != now) idle_rounds = 0;
    }
    expect(requests_.empty() && engine_->is_idle());
    expect(pool_->size() - pool_->free() == 2);
    expect(!descriptors_ || descriptors_->free() == descriptors_->size());
    expect(guard_.is_idle());
    fail();
  }

  void fail() {
    engine_->fail(make_error(errc::lost_connection, "use the disk"));
    // The next turn completes requests that were submitted but not yet seen by the engine.
    turn();
    turn();
    expect(engine_->unfinished() == 0 && requests_.empty());
    std::set<blk::page_index> backend_pages;
    pending_.insert(pending_.end(), unconsumed_.begin(), unconsumed_.end());
    for (const auto& request : pending_)
      backend_pages.insert(request.pages.begin(), request.pages.end());
    for (const auto& pages : abandoned_) {
      const auto is_shared = [&](auto page) { return backend_pages.contains(page); };
      if (std::any_of(pages.begin(), pages.end(), is_shared))
        backend_pages.insert(pages.begin(), pages.end());
    }
    expect(pool_->size() - pool_->free() <= 2 + backend_pages.size());
  }

  void completed(tracked_request& r) {
    expect(requests_.erase(&r) == 1);
    if (r.lease && !*r.lease) abandoned_.push_back(r.lease_pages);
    const bool another = r.submits_another;
    delete &r;
    if (another) submit_read(0, 100);
  }

 private:
  [[nodiscard]] std::pair<std::uint64_t, std::size_t> progress() const {
    return {engine_->statistics().ring_requests, requests_.size()};
  }
  static std::vector<grant_ref> refs(std::size_t first, std::size_t count) {
    std::vector<grant_ref> out;
    for (std::size_t i = 0; i < count; ++i)
      out.push_back(grant_ref(static_cast<std::uint32_t>(first_ref + first + i)));
    return out;
  }

  // engine_host
  void schedule_send() override { send_scheduled_ = true; }
  void lock_sector(std::uint64_t sector) override { guard_.lock(0, sector); }
  void unlock_sector(std::uint64_t sector) override { guard_.unlock(sector); }
  void sector_held(std::uint64_t sector) override { guard_.held(sector); }
  void raise_fences(std::uint64_t id, const stretch&) override { engine_->fence_raised(id); }
  void lower_fences(std::uint64_t) override {}
  void shape_changed() override { shape_ = engine_->shape(); }
  void flush_ignored() override {}
  void flush_failed_after_loss() override {}

  // sector_guard::peer: queue 0 is the engine; other_queue() acts as queue 1.
  void hold(std::size_t queue, std::uint64_t sector) override {
    if (queue == 0)
      engine_->hold_sector(sector);
    else
      holds_asked_.push_back(sector);
  }
  void release(std::size_t queue, std::uint64_t sector) override {
    if (queue == 0) engine_->release_sector(sector);
  }
  void locked(std::size_t queue, std::uint64_t sector) override {
    // A read-modify-write of the locked sector must not overwrite a write in flight.
    if (!engine_->failure_reason())
      for (const auto& request : pending_)
        expect(!request.writes.overlaps({sector, sector + shape_.sector_size}));
    if (queue == 0)
      engine_->sector_locked(sector);
    else
      other_locks_.push_back(sector);
  }
  void other_queue(std::uint8_t choice) {
    if (choice % 4 == 0) return guard_.lock(1, (choice / 4U) * std::uint64_t{shape_.sector_size});
    if (choice % 4 == 1) return release_other_queue();
    if (choice % 4 == 2 && !holds_asked_.empty()) {
      const auto sector = holds_asked_.back();
      holds_asked_.pop_back();
      guard_.held(sector);
    }
  }
  void release_other_queue() {
    for (const auto sector : std::exchange(holds_asked_, {}))
      guard_.held(sector);
    for (const auto sector : std::exchange(other_locks_, {}))
      guard_.unlock(sector);
  }

  void submit(input& source) {
    auto request = std::make_unique<tracked_request>();
    auto& r = *request;
    const auto kind = source.byte();
    r.op = static_cast<blk::operation>(kind % blk::operation_count);
    r.fua = (kind & 0x40U) != 0;
    r.submits_another = (kind & 0x80U) != 0;
    const auto place = source.word();
    const auto length = source.word();
    // Half of the offsets are aligned to sectors.
    r.offset = (place & 1U) != 0 ? place * std::uint64_t{17} : (place >> 1U) * std::uint64_t{512};
    r.length = (length & 1U) != 0 ? length * std::uint64_t{3} : (length >> 1U) % 256 * 512;
    if (length == 0xFFFF) r.length = ~std::uint64_t{0} - source.byte();
    if (r.op == blk::operation::flush) r.length = 0;
    if (r.op == blk::operation::read || r.op == blk::operation::write) {
      if ((kind & 0x20U) != 0)
        r.lease = blk::lease::try_take(pool_, r.offset, r.length, shape_.sector_size);
      if (r.lease) {
        r.pages = &*r.lease;
        auto page = r.lease->pages().first;
        for (unsigned i = 0; i < r.lease->pages().count; ++i, page = pool_->next(page))
          r.lease_pages.push_back(page);
      } else if (r.length < (1U << 20)) {
        r.bytes.resize(r.length);
        r.memory = r.bytes.data();
      }
    }
    submit(*request.release());
  }
  void submit_read(std::uint64_t offset, std::size_t length) {
    auto& r = *new tracked_request;
    r.offset = offset;
    r.length = length;
    r.bytes.resize(length);
    r.memory = r.bytes.data();
    submit(r);
  }
  void submit(tracked_request& r) {
    r.owner = this;
    r.done = [](blk::request& done) {
      auto& self = static_cast<tracked_request&>(done);
      self.owner->completed(self);
    };
    requests_.insert(&r);
    engine_->submit(r);
  }

  void turn() {
    (void)engine_->send(now_);
    now_ += 100;
    observe();
  }

  void drain() {
    (void)engine_->drain(now_);
    // If the producer index moved backwards, the engine has not consumed all responses yet.
    if (!engine_->failure_reason() && engine_->in_flight() == pending_.size()) unconsumed_.clear();
  }
  void forget(std::vector<backend_request>::iterator request) {
    unconsumed_.push_back(std::move(*request));
    pending_.erase(request);
  }

  template <class T>
  [[nodiscard]] T load(std::size_t at) const {
    T out;
    std::memcpy(&out, memory_.data() + at, sizeof out);
    return out;
  }
  [[nodiscard]] std::size_t slot_at(std::uint32_t index) const {
    return 64 + std::size_t{index & (entries() - 1)} * 112;
  }
  [[nodiscard]] std::uint32_t entries() const {
    return ring_memory_.size() == page_size ? 32U : 64U;
  }

  /// Reads the requests that the engine has just published, before a later step overwrites them.
  void observe() {
    if (engine_->failure_reason()) return;
    // The producer index may have been overwritten, so use the engine's count.
    const auto put = engine_->statistics().ring_requests;
    for (; observed_ < put; ++observed_, ++req_cons_) {
      const auto request = load<wire::blkif_request>(slot_at(req_cons_));
      backend_request seen{request.id, request.operation, {}, {}};
      const auto begin = request.sector_number * unit_;
      if (request.operation == 5) {
        const auto discard = load<wire::blkif_discard_request>(slot_at(req_cons_));
        seen.writes = {begin, begin + discard.nr_sectors * unit_};
      }
      if (request.operation <= 1) {
        expect(request.nr_segments >= 1 && request.nr_segments <= 11);
        for (unsigned i = 0; i < request.nr_segments; ++i)
          seen.pages.push_back(check(request.seg[i]));
        if (request.operation == 1) seen.writes = {begin, begin + bytes_of(request)};
      } else if (request.operation == 6) {
        const auto indirect = load<wire::blkif_indirect_request>(slot_at(req_cons_));
        expect(indirect.nr_segments > 11 && indirect.nr_segments <= 512);
        seen.operation = indirect.indirect_op;
        const auto table = indirect.indirect_grefs[0] - first_ref + ring_memory_.size() / page_size;
        expect((table + 1) * page_size <= memory_.size());
        for (unsigned i = 0; i < indirect.nr_segments; ++i)
          seen.pages.push_back(check(
              load<wire::blkif_segment>(table * page_size + i * sizeof(wire::blkif_segment))));
      } else {
        expect(request.nr_segments == 0 || request.operation == 5);
      }
      for (const auto& before : pending_)
        for (const auto page : seen.pages)
          expect(std::find(before.pages.begin(), before.pages.end(), page) == before.pages.end());
      pending_.push_back(std::move(seen));
    }
  }
  [[nodiscard]] std::uint64_t bytes_of(const wire::blkif_request& request) const {
    std::uint64_t units = 0;
    for (unsigned i = 0; i < request.nr_segments; ++i)
      units += request.seg[i].last_sect - request.seg[i].first_sect + 1U;
    return units * unit_;
  }
  [[nodiscard]] blk::page_index check(const wire::blkif_segment& segment) const {
    expect(segment.gref >= first_ref && segment.gref < first_ref + pool_->size());
    expect(segment.first_sect <= segment.last_sect && segment.last_sect < 8);
    return static_cast<blk::page_index>(segment.gref - first_ref);
  }

  void respond(const wire::blkif_response& response) {
    std::memcpy(memory_.data() + slot_at(rsp_prod_++), &response, sizeof response);
    publish(rsp_prod_);
  }
  void publish(std::uint32_t producer) {
    std::memcpy(memory_.data() + 8, &producer, sizeof producer);
  }
  void complete(std::size_t which, unsigned kind) {
    if (pending_.empty()) return;
    const auto at = pending_.begin() + static_cast<std::ptrdiff_t>(which % pending_.size());
    constexpr std::array<std::int16_t, 4> statuses = {0, 0, -1, -2};
    wire::blkif_response response{};
    response.id = at->id;
    response.operation = at->operation;
    response.status = statuses[kind];
    forget(at);
    respond(response);
  }
  /// Sends a response with one wrong field, or a wrong producer index.
  void respond_wrongly(input& source) {
    const auto choice = source.byte();
    wire::blkif_response response{};
    if (!pending_.empty()) {
      response.id = pending_.front().id;
      response.operation = pending_.front().operation;
    }
    if (choice % 5 == 0) response.id += source.byte();
    if (choice % 5 == 1) response.operation = source.byte();
    if (choice % 5 == 2) return publish(rsp_prod_ + source.byte() - 128U);
    if (choice % 5 == 3) response.id = source.word() | std::uint64_t{source.word()} << 48U;
    if (choice % 5 == 4) response.status = static_cast<std::int16_t>(source.word());
    const bool well_formed = !pending_.empty() && response.id == pending_.front().id &&
                             response.operation == pending_.front().operation;
    if (well_formed) forget(pending_.begin());
    respond(response);
  }
  /// Overwrites any bytes except the producer index: a wrong producer index would only make the
  /// ring fail, which respond_wrongly() tests.
  void scribble(input& source) {
    const auto at = (source.word() << 4U | source.byte()) % memory_.size();
    const auto value = static_cast<std::byte>(source.byte());
    if (at >= 8 && at < 12) return;
    const auto count = std::min<std::size_t>(1 + source.byte() % 64, memory_.size() - at);
    if (at < 8 && at + count > 8) return;
    std::fill_n(memory_.begin() + static_cast<std::ptrdiff_t>(at), count, value);
  }

  /// Checks that the pool does not contain any page of an unanswered request.
  void audit() {
    if (engine_->failure_reason() || pool_->free() == 0) return;
    const auto chain = *pool_->take(pool_->free());
    std::set<blk::page_index> free;
    auto page = chain.first;
    for (unsigned i = 0; i < chain.count; ++i, page = pool_->next(page))
      free.insert(page);
    expect(free.size() == chain.count);
    for (const auto& request : pending_)
      for (const auto owned : request.pages)
        expect(!free.contains(owned));
    pool_->give_back(chain);
  }

  std::vector<std::byte> storage_;
  std::span<std::byte> memory_;
  std::span<std::byte> ring_memory_;
  std::shared_ptr<blk::page_pool> pool_;
  std::shared_ptr<blk::page_pool> descriptors_;
  blk::geometry shape_;
  sector_guard guard_;
  std::unique_ptr<engine> engine_;
  std::set<tracked_request*> requests_;
  std::vector<std::vector<blk::page_index>> abandoned_;
  std::vector<backend_request> pending_;
  std::vector<backend_request> unconsumed_;  ///< the engine has not consumed the responses yet
  std::vector<std::uint64_t> holds_asked_;
  std::vector<std::uint64_t> other_locks_;
  std::uint32_t unit_ = 512;
  std::uint64_t now_ = 1'000'000;
  std::uint64_t observed_ = 0;
  std::uint32_t req_cons_ = 0;
  std::uint32_t rsp_prod_ = 0;
  bool send_scheduled_ = false;
};

void drive_engine(input& source) {
  const bool completes = (source.byte() & 1U) != 0;
  rig both(source);
  while (!source.is_empty())
    both.step(source);
  if (completes)
    both.complete_all();
  else
    both.fail();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  input source({data, size});
  drive_engine(source);
  return 0;
}
