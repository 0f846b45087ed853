#include "blkfront/engine.hpp"

#include <utility>

#include "blkfront/engine_state.hpp"

namespace xenpv::blkfront {
namespace {

/// Sectors that can be merged at once: merging is for the odd unaligned end, not for a workload.
constexpr std::size_t merges_at_once = 2;

}  // namespace

void engine::request_list::prepend(request_list other) noexcept {
  if (other.empty()) return;
  other.last->device.next = first;
  if (last == nullptr) last = other.last;
  first = other.first;
}

engine::engine(engine_setup setup, engine_host& host)
    : setup_(std::move(setup)),
      host_(host),
      sector_mask_(setup_.shape.sector_size - 1),
      slots_(ring_.size()),
      published_(ring_.requests_put()) {
  free_slots_.reserve(slots_.size());
  for (auto i = slots_.size(); i-- > 0;)
    free_slots_.push_back(static_cast<std::uint16_t>(i));
  merge_pages_ = setup_.data.pages->take(merges_at_once).value_or(blk::page_chain{});
  waiter_.owner = this;
  waiter_.wake = [](blk::page_waiter& waiter) {
    static_cast<pages_waiter&>(waiter).owner->host_.wanted();
  };
}

engine::~engine() {
  setup_.data.pages->stop_waiting(waiter_);
}

void engine::reshape(const blk::geometry& shape) noexcept {
  // Whoever asks may not know yet what the backend has refused here meanwhile.
  const auto before = std::exchange(setup_.shape, shape);
  setup_.shape.can_flush = shape.can_flush && before.can_flush;
  setup_.shape.can_discard = shape.can_discard && before.can_discard;
  setup_.shape.can_secure_discard = shape.can_secure_discard && before.can_secure_discard;
  sector_mask_ = shape.sector_size - 1;
}

bool engine::start(std::uint64_t now) noexcept {
  now_ = now;
  accept_fresh(now);
  // What waits for nobody else goes first: then a full ring or an empty pool delays only what
  // takes much of it.
  if (start_flush() && start_merges()) {
    start_pending(start_again());
    // An empty FUA write has nothing to wait for but its flush.
    (void)start_flush();
  }
  // Their callers may have submitted more from within `done`.
  while (auto* const r = refused_.pop())
    finish(*r);
  if (!fresh_.empty()) host_.wanted();
  if (failure_) return false;
  const auto put = ring_.requests_put() - std::exchange(published_, ring_.requests_put());
  if (put == 0) return false;
  statistics_.ring_requests += put;
  const bool due = ring_.publish();
  statistics_.depth.add(ring_.in_flight());
  ++(due ? statistics_.notifies_sent : statistics_.notifies_suppressed);
  return due;
}

bool engine::is_idle() const noexcept {
  return unfinished_ == 0 && (failure_ || ring_.in_flight() == 0);
}

queue_statistics engine::statistics() const noexcept {
  auto out = statistics_;
  out.in_flight = ring_.in_flight();
  out.queued = unfinished_ > out.in_flight ? unfinished_ - out.in_flight : 0;
  out.pages = setup_.data.pages->size();
  out.pages_used = out.pages - setup_.data.pages->free();
  out.pages_most = out.pages - setup_.data.pages->least_free();
  out.ring_entries = ring_.size();
  return out;
}

}  // namespace xenpv::blkfront
