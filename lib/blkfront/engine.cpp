// Orders requests: from submission to the list of requests that can be sent, and from the last
// response to completion.
#include "blkfront/engine.hpp"

#include <algorithm>
#include <utility>

#include "blkfront/engine_state.hpp"

namespace xenpv::blkfront {
namespace {

/// Pages reserved in a pool of at least 64 pages (engine::spare_pages_).
constexpr std::size_t spare_pages = 8;

/// How many small requests may overtake a large request that waits for pages.
constexpr unsigned overtaking_limit = 64;

}  // namespace

engine::engine(engine_setup setup, engine_host& host)
    : setup_(std::move(setup)),
      host_(host),
      sector_mask_(setup_.shape.sector_size - 1),
      slots_(ring_.size()),
      gate_(setup_.shape.sector_size),
      merger_(setup_.data.pages, host),
      published_(ring_.requests_put()) {
  free_slots_.reserve(slots_.size());
  for (auto i = slots_.size(); i-- > 0;)
    free_slots_.push_back(static_cast<std::uint16_t>(i));
  flush_mode_ = choose_flush_mode();
  if (setup_.data.pages->size() >= 8 * spare_pages)
    spare_pages_ = setup_.data.pages->take(spare_pages).value_or(blk::page_chain{});
  has_spare_pages_ = spare_pages_.count != 0;
  waiter_.owner = this;
  waiter_.wake = [](blk::page_waiter& waiter) {
    static_cast<pages_waiter&>(waiter).owner->host_.schedule_send();
  };
}

engine::~engine() {
  setup_.data.pages->stop_waiting(waiter_);
}

void engine::reshape(const blk::geometry& shape) noexcept {
  // The caller might not know yet which features the backend has refused.
  const auto before = std::exchange(setup_.shape, shape);
  setup_.shape.can_flush = shape.can_flush && before.can_flush;
  setup_.shape.can_discard = shape.can_discard && before.can_discard;
  setup_.shape.can_secure_discard = shape.can_secure_discard && before.can_secure_discard;
  flush_mode_ = choose_flush_mode();
}

engine::flush_mode engine::choose_flush_mode() const noexcept {
  if (!setup_.shape.can_flush) return flush_mode::none;
  if (setup_.flush_cache) return flush_mode::cache;
  if (setup_.barrier && setup_.only_queue) return flush_mode::barrier;
  return setup_.strict_flush ? flush_mode::none : flush_mode::ignored;
}

std::error_code engine::check(const blk::request& r) const noexcept {
  const auto& shape = setup_.shape;
  const bool can_flush = flush_mode_ != flush_mode::none;
  if (failure_) return failure_->code;
  if (r.op == blk::operation::flush) return can_flush ? std::error_code{} : not_supported();
  if (shape.size == 0) return {ENOMEDIUM, std::generic_category()};
  if (r.length > shape.size || r.offset > shape.size - r.length)
    return std::make_error_code(std::errc::invalid_argument);
  if (r.op != blk::operation::read && shape.read_only)
    return std::make_error_code(std::errc::read_only_file_system);
  if (r.op == blk::operation::discard && !shape.can_discard) return not_supported();
  if (r.op == blk::operation::secure_discard) {
    if (!shape.can_secure_discard) return not_supported();
    // A secure discard is not advisory: exactly these bytes must be erased.
    if (((r.offset | r.length) & sector_mask_) != 0)
      return std::make_error_code(std::errc::invalid_argument);
  }
  if (is_fua(r) && !can_flush) return not_supported();
  if (carries_data(r.op) && r.length != 0) {
    if (r.memory == nullptr && (r.pages == nullptr || r.pages->length() < r.length))
      return std::make_error_code(std::errc::invalid_argument);
  }
  return {};
}

/// Initialises the request's device_part. Returns false if the request is already complete.
bool engine::prepare(blk::request& r) noexcept {
  r.status = check(r);
  if (r.status) return false;
  set_phase(r, phase::data);
  const stretch bytes{r.offset, r.offset + r.length};
  stretch sent = bytes;
  switch (r.op) {
    case blk::operation::flush:
      set_phase(r, phase::flush);
      note_doubt(r);
      return true;
    case blk::operation::read:
      sent = cover(bytes, setup_.shape.sector_size);
      break;
    case blk::operation::write:
      if (((r.offset | r.length) & sector_mask_) != 0)
        sent = plan_write(bytes, setup_.shape.sector_size).middle;
      break;
    case blk::operation::discard:
      sent = plan_discard(bytes, setup_.shape.discard_granularity, setup_.shape.discard_alignment);
      if (sent.empty()) return false;
      break;
    case blk::operation::secure_discard:
      break;
  }
  if (is_fua(r)) note_doubt(r);
  r.device.planned = sent.begin;
  r.device.end = sent.end;
  // With FUA, even an empty write flushes earlier writes.
  return r.length != 0 || is_fua(r);
}

void engine::note_doubt(blk::request& r) const noexcept {
  if (setup_.ledger && setup_.ledger->is_in_doubt(setup_.queue)) r.device.flags |= in_doubt;
}

void engine::accept_fresh() noexcept {
  for (auto list = std::exchange(fresh_, {}); auto* const r = list.pop();) {
    r->device.submitted_ns = now_;
    if (send_simple(*r)) continue;
    if (!prepare(*r))
      refused_.push(*r);
    else if (phase_of(*r) == phase::flush)
      flushing_.push(*r);
    else
      begin(*r);
  }
}

void engine::begin(blk::request& r) noexcept {
  const auto park_or_queue = [&] {
    const bool parked = changes_data(r.op) && gate_.park(r, {r.device.planned, r.device.end});
    if (!parked) pending_.push(r);
  };
  const bool is_unaligned = ((r.offset | r.length) & sector_mask_) != 0;
  if (r.op != blk::operation::write || r.length == 0 || !is_unaligned) return park_or_queue();
  const auto plan = plan_write({r.offset, r.offset + r.length}, setup_.shape.sector_size);
  // Count the sectors to merge before the first lock request, which may be granted immediately.
  r.device.outstanding = (plan.head ? 1U : 0U) + (plan.tail ? 1U : 0U);
  if (!plan.middle.empty()) park_or_queue();
  if (plan.head) add_merge(r, *plan.head);
  if (plan.tail) add_merge(r, *plan.tail);
}

void engine::add_merge(blk::request& r, const stretch& bytes) {
  ++statistics_.read_modify_writes;
  merger_.start(r, bytes, bytes.begin & ~sector_mask_);
}

bool engine::send(std::uint64_t now) noexcept {
  now_ = now;
  accept_fresh();
  // Requests that do not wait for pages go first, so that a full ring or an empty pool delays only
  // requests that need many entries or pages.
  if (send_flush() && send_merges()) {
    send_pending(send_again());
    // An empty FUA write waits only for its flush.
    (void)send_flush();
  }
  // Callers may submit more requests from within `done`.
  while (auto* const r = refused_.pop())
    finish(*r);
  if (!fresh_.empty()) host_.schedule_send();
  if (failure_) return false;
  const auto put = ring_.requests_put() - std::exchange(published_, ring_.requests_put());
  if (put == 0) return false;
  statistics_.ring_requests += put;
  const bool due = ring_.publish();
  statistics_.depth.add(ring_.in_flight());
  ++(due ? statistics_.notifies_sent : statistics_.notifies_suppressed);
  return due;
}

bool engine::send_flush() noexcept {
  fail_doubtful_flushes();
  // Only one flush is in flight; flushes that arrive in the meantime share the next one.
  if (flushing_.empty() || flush_in_flight_) return true;
  if (flush_mode_ == flush_mode::ignored) {
    finish_ignored_flushes(std::exchange(flushing_, {}));
    return true;
  }
  if (free_slots_.empty()) return false;
  put_flush();
  return true;
}

/// Fails flushes that may cover lost writes. These writes had already completed, so the flushes
/// must not succeed.
void engine::fail_doubtful_flushes() noexcept {
  request_list doubtful;
  request_list others;
  while (auto* const r = flushing_.pop())
    ((r->device.flags & in_doubt) != 0 ? doubtful : others).push(*r);
  flushing_ = others;
  if (doubtful.empty()) return;
  if (setup_.ledger) setup_.ledger->report(setup_.queue);
  host_.flush_failed_after_loss();
  for (const auto* r = doubtful.first; r != nullptr; r = r->device.next)
    ++statistics_.flushes_refused;
  finish_all(doubtful, io_error());
}

bool engine::send_merges() noexcept {
  while (auto* const m = merger_.next()) {
    if (free_slots_.empty()) return false;
    put_merge(*m);
    merger_.sent(*m);
  }
  return true;
}

/// Returns false if too few pages are free.
bool engine::send_again() noexcept {
  bool enough_pages = true;
  for (auto piece = again_.begin(); piece != again_.end() && !free_slots_.empty();) {
    auto& r = *piece->r;
    const bool lacking = !enough_pages && takes_pages(r);
    if (lacking || (changes_data(r.op) && gate_.blocks(piece->bytes, r.device.order))) {
      ++piece;
      continue;
    }
    // send_piece() locates the page from the start of the lease here, so keep the request's own
    // cursor.
    const auto cursor = r.device.cursor;
    const auto sent = send_piece(r, piece->bytes, true);
    r.device.cursor = cursor;
    if (sent == 0) enough_pages = false;
    piece->bytes.begin += sent;
    // The entry counts as one outstanding ring request. The last ring request sent for the entry
    // takes the entry's place.
    if (!piece->bytes.empty()) continue;
    --r.device.outstanding;
    piece = again_.erase(piece);
  }
  return enough_pages;
}

void engine::send_pending(bool enough_pages) noexcept {
  request_list sent;
  if (enough_pages) {
    const bool large_first = overtaken_ >= overtaking_limit && !large_.empty();
    enough_pages = (!large_first || send_waiting(large_, sent)) && send_waiting(small_, sent) &&
                   send_waiting(large_, sent);
  }
  while (auto* const r = free_slots_.empty() ? nullptr : pending_.pop()) {
    if (changes_data(r->op) && gate_.park(*r, {r->device.planned, r->device.end})) continue;
    // Requests with leased pages or without data do not wait for pages, because other requests may
    // be waiting for those leased pages. A small request waits only behind other small requests.
    const bool is_small = r->length <= blk::small_request;
    const bool waits = takes_pages(*r) && (is_small ? !small_.empty() : !enough_pages);
    if (!waits && send_request(*r)) {
      sent.push(*r);
      continue;
    }
    if (free_slots_.empty()) {
      pending_.push_front(*r);
      break;
    }
    wait_for_pages(*r);
    enough_pages = false;
  }
  while (auto* const r = sent.pop())
    if (r->device.outstanding == 0) conclude(*r);
}

/// Sends requests that waited for pages, in order. Returns false if the remaining ones still have
/// to wait.
bool engine::send_waiting(request_list& waiting, request_list& sent) noexcept {
  while (auto* const r = waiting.pop()) {
    // A request that is parked for a write lock that overtook it keeps `lacks_pages`, so that no
    // write lock waits for it (has_earlier_write()). Otherwise the write locks of two queues could
    // wait for each other.
    if (changes_data(r->op) && gate_.park(*r, {r->device.planned, r->device.end})) continue;
    const auto before = r->device.planned;
    const bool complete = send_request(*r);
    if (&waiting == &large_ && (complete || r->device.planned != before)) overtaken_ = 0;
    if (complete) {
      r->device.flags &= static_cast<std::uint8_t>(~lacks_pages);
      if (&waiting == &small_ && !large_.empty()) ++overtaken_;
      sent.push(*r);
      continue;
    }
    waiting.push_front(*r);
    return false;
  }
  return true;
}

void engine::wait_for_pages(blk::request& r) noexcept {
  (r.length <= blk::small_request ? small_ : large_).push(r);
  if (has_spare_pages_) return;
  r.device.flags |= lacks_pages;
  if (changes_data(r.op)) check_holds({r.device.planned, r.device.end});
}

/// Requeues writes whose write lock or fence has ended, ahead of later requests.
void engine::resume(request_list woken) noexcept {
  if (woken.empty()) return;
  pending_.prepend(woken);
  host_.schedule_send();
}

void engine::sector_locked(std::uint64_t sector) noexcept {
  if (merger_.locked(sector)) host_.schedule_send();
}

void engine::hold_sector(std::uint64_t sector) {
  gate_.hold(sector, order_);
  check_holds({sector, sector + setup_.shape.sector_size});
}

/// Whether a write to the sector is in flight, or a write with a number up to `order` is queued for
/// a reason other than a lack of pages.
bool engine::has_earlier_write(const stretch& sector, std::uint64_t order) const noexcept {
  for (const auto& s : slots_) {
    const bool plain = s.kind == slot_kind::simple || s.kind == slot_kind::data ||
                       s.kind == slot_kind::discard || s.kind == slot_kind::orphan;
    if (plain && changes_data(s.op) && s.bytes.overlaps(sector)) return true;
  }
  bool found = false;
  const auto check_request = [&](const blk::request& r) {
    const stretch rest{r.device.planned, r.device.end};
    const bool counts = changes_data(r.op) && (r.device.flags & lacks_pages) == 0;
    found = found || (counts && r.device.order <= order && rest.overlaps(sector));
  };
  for (const auto* const list : {&pending_, &small_, &large_})
    for (const auto* r = list->first; r != nullptr && !found; r = r->device.next)
      check_request(*r);
  if (!found) gate_.for_each_parked(check_request);
  for (const auto& piece : again_)
    found = found ||
            (piece.r->op == blk::operation::write && (has_spare_pages_ || !takes_pages(*piece.r)) &&
             piece.r->device.order <= order && piece.bytes.overlaps(sector));
  return found;
}

/// Call when writes to `bytes` have ended or wait for pages: lets write locks within `bytes` take
/// effect.
void engine::check_holds(const stretch& bytes) noexcept {
  for (const auto sector : gate_.waiting_holds(bytes)) {
    // sector_held() below may add and remove write locks.
    const auto* const order = gate_.waiting_hold(sector);
    if (order == nullptr) continue;
    if (has_earlier_write({sector, sector + setup_.shape.sector_size}, *order)) continue;
    gate_.take_effect(sector);
    host_.sector_held(sector);
  }
}

void engine::piece_done(blk::request& r, std::error_code status) noexcept {
  if (status && !r.status) r.status = status;
  if (--r.device.outstanding == 0 && r.device.planned >= r.device.end) conclude(r);
}

/// Call when all data has been transferred or a part has failed.
void engine::conclude(blk::request& r) noexcept {
  if (!is_fua(r) || r.status || phase_of(r) == phase::flush) return finish(r);
  set_phase(r, phase::flush);
  flushing_.push(r);
}

void engine::finish_all(request_list list, std::error_code status) noexcept {
  while (auto* const r = list.pop()) {
    r->status = status;
    finish(*r);
  }
}

void engine::finish_ignored_flushes(request_list list) noexcept {
  while (auto* const r = list.pop()) {
    ++statistics_.flushes_ignored;
    finish(*r);
  }
}

void engine::finish(blk::request& r) noexcept {
  const bool is_durable = is_fua(r) && flush_mode_ != flush_mode::ignored;
  const bool changed = r.op == blk::operation::write || r.op == blk::operation::secure_discard;
  if (setup_.ledger && changed && !is_durable && !r.status)
    setup_.ledger->write_answered(setup_.queue);
  if ((r.device.flags & caller_marks) != 0) host_.marked_answered(r);
  auto& counted = statistics_.operations[static_cast<std::size_t>(r.op)];
  ++counted.requests;
  if (r.status)
    ++counted.errors;
  else
    counted.bytes += r.length;
  counted.latency_ns.add(now_ - r.device.submitted_ns);
  --unfinished_;
  r.answered_ns = now_;
  r.done(r);
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
