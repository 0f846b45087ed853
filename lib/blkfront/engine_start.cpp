// From the list of what can be sent into the ring. A false return means: the ring is full or pages
// are short, try again when something was answered.
#include <algorithm>

#include "blkfront/engine_state.hpp"

namespace xenpv::blkfront {
namespace {

constexpr auto direct_segments = static_cast<std::uint32_t>(wire::blkif_max_segments_per_request);

/// With requests on their way it is better to wait for their pages than to send crumbs.
constexpr std::uint32_t crumb = 8;

}  // namespace

engine::slot& engine::take_slot(slot_kind kind, wire::blkif_op op, const stretch& bytes) noexcept {
  const auto number = free_slots_.back();
  free_slots_.pop_back();
  auto& s = slots_[number];
  s = {};
  s.kind = kind;
  s.op = op;
  s.bytes = bytes;
  s.id = ++serial_ << 16 | number;
  s.started_ns = now_;
  return s;
}

void engine::lack_pages() noexcept {
  ++statistics_.pages_short;
  setup_.data.pages->wait(waiter_);
}

bool engine::start_flush() noexcept {
  // One at a time: those that come meanwhile share the next one.
  if (flushing_.empty() || flush_in_flight_) return true;
  if (free_slots_.empty()) return false;
  const auto op =
      setup_.flush_cache ? wire::blkif_op::flush_diskcache : wire::blkif_op::write_barrier;
  auto& s = take_slot(slot_kind::flush, op, {});
  s.r = flushing_.first;
  for (const auto* r = s.r->device.next; r != nullptr; r = r->device.next)
    ++statistics_.flushes_merged;
  flushing_ = {};
  flush_in_flight_ = true;
  wire::blkif_request request{};
  request.operation = static_cast<std::uint8_t>(op);
  request.handle = setup_.handle;
  request.id = s.id;
  ring_.put(request);
  return true;
}

bool engine::start_merges() noexcept {
  while (!ready_merges_.empty()) {
    auto& m = *ready_merges_.front();
    if (m.r == nullptr && m.at == merge::stage::to_read) {
      ready_merges_.pop_front();
      end_merge(m, {});
      continue;
    }
    if (free_slots_.empty()) return false;
    const bool reads = m.at == merge::stage::to_read;
    if (reads) {
      // Those that hold a page are ahead of this one, so it gets one when they are done.
      if (merge_pages_.count == 0) return true;
      m.page = setup_.data.pages->split(merge_pages_, 1);
    }
    ready_merges_.pop_front();
    auto& s = take_slot(reads ? slot_kind::merge_read : slot_kind::merge_write,
                        reads ? wire::blkif_op::read : wire::blkif_op::write,
                        {m.sector, m.sector + setup_.shape.sector_size});
    s.merging = &m;
    s.segments = 1;
    m.at = reads ? merge::stage::reading : merge::stage::writing;
    put_direct(s, m.page.first, 0);
  }
  return true;
}

/// False: pages are short.
bool engine::start_again() noexcept {
  bool enough_pages = true;
  for (auto piece = again_.begin(); piece != again_.end() && !free_slots_.empty();) {
    const bool lacks_pages = !enough_pages && !uses_lease(*piece->r);
    if (lacks_pages || is_held(*piece->r, piece->bytes)) {
      ++piece;
      continue;
    }
    // Its page is looked up from the lease's start; the request's own progress is another place.
    const auto cursor = piece->r->device.cursor;
    const auto started = start_piece(*piece->r, piece->bytes, true);
    piece->r->device.cursor = cursor;
    if (started == 0) enough_pages = false;
    piece->bytes.begin += started;
    // The entry itself counts as one: its last ring request takes that over.
    if (!piece->bytes.empty()) continue;
    --piece->r->device.outstanding;
    piece = again_.erase(piece);
  }
  return enough_pages;
}

void engine::start_pending(bool enough_pages) noexcept {
  request_list waiting;
  request_list sent;
  while (auto* const r = pending_.pop()) {
    // What brings its pages along, or carries no data, does not wait for pages: those may be the
    // very ones it has.
    const bool takes_pages = carries_data(r->op) && !uses_lease(*r);
    const bool lacks_pages = takes_pages && !enough_pages;
    if (lacks_pages || is_held(*r, {r->device.planned, r->device.end})) {
      waiting.push(*r);
      continue;
    }
    if (start_request(*r)) {
      sent.push(*r);
      continue;
    }
    waiting.push(*r);
    if (free_slots_.empty()) break;
    enough_pages = false;
  }
  pending_.prepend(waiting);
  while (auto* const r = sent.pop())
    if (r->device.outstanding == 0) conclude(*r);
}

/// True when all of the request is in the ring.
bool engine::start_request(blk::request& r) noexcept {
  if (is_discard(r.op)) return start_discard(r);
  // A part has failed: the rest would not change the answer.
  if (r.status) r.device.planned = r.device.end;
  while (r.device.planned < r.device.end) {
    const auto started = start_piece(r, {r.device.planned, r.device.end}, false);
    if (started == 0) return false;
    r.device.planned += started;
  }
  return true;
}

bool engine::start_discard(blk::request& r) noexcept {
  if (free_slots_.empty()) {
    ++statistics_.ring_full;
    return false;
  }
  const stretch bytes{r.device.planned, r.device.end};
  auto& s = take_slot(slot_kind::discard, wire::blkif_op::discard, bytes);
  s.r = &r;
  ++r.device.outstanding;
  r.device.planned = r.device.end;
  wire::blkif_discard_request request{};
  request.operation = static_cast<std::uint8_t>(wire::blkif_op::discard);
  request.flag = r.op == blk::operation::secure_discard ? wire::blkif_discard_secure : 0;
  request.handle = setup_.handle;
  request.id = s.id;
  request.sector_number = bytes.begin / setup_.unit;
  request.nr_sectors = bytes.size() / setup_.unit;
  ring_.put(request);
  return true;
}

bool engine::uses_lease(const blk::request& r) const noexcept {
  return r.memory == nullptr && r.pages != nullptr && r.pages->pool() == setup_.data.pages.get() &&
         r.pages->lead() == (r.offset & sector_mask_);
}

std::uint32_t engine::segments_allowed(std::uint32_t wanted, bool direct) const noexcept {
  const auto most = direct ? direct_segments : setup_.segments;
  if (wanted <= direct_segments || most <= direct_segments)
    return std::min(wanted, direct_segments);
  const auto allowed = std::min(wanted, most);
  // A direct request needs no page of descriptors, so lacking one delays nothing.
  const auto descriptors = (allowed + wire::blkif_segments_per_indirect_page - 1) /
                           wire::blkif_segments_per_indirect_page;
  const bool enough = setup_.indirect.pages && setup_.indirect.pages->free() >= descriptors;
  return enough ? allowed : direct_segments;
}

/// Sends as much of `rest` as one ring request holds; returns its bytes, 0 when it has to wait.
std::uint64_t engine::start_piece(blk::request& r, const stretch& rest, bool direct) noexcept {
  if (free_slots_.empty()) {
    ++statistics_.ring_full;
    return 0;
  }
  const bool leased = uses_lease(r);
  const auto base = r.offset & ~sector_mask_;
  const auto position = leased ? rest.begin - base : 0;
  auto segments = segments_allowed(pages_touched(position, rest.size()), direct);
  auto& pool = *setup_.data.pages;
  if (!leased && pool.free() < segments) {
    const auto available = static_cast<std::uint32_t>(pool.free());
    if (available == 0 || (available < std::min(segments, crumb) && ring_.in_flight() > 0)) {
      lack_pages();
      return 0;
    }
    segments = segments_allowed(available, direct);
  }
  const auto bytes = bytes_in_segments(position, rest.size(), segments);
  const auto op = r.op == blk::operation::read ? wire::blkif_op::read : wire::blkif_op::write;
  auto& s = take_slot(slot_kind::data, op, {rest.begin, rest.begin + bytes});
  s.r = &r;
  s.segments = static_cast<std::uint16_t>(pages_touched(position, bytes));
  ++r.device.outstanding;
  blk::page_index page = blk::no_page;
  if (leased) {
    page = r.device.cursor;
    if (direct || page == blk::no_page) {
      page = r.pages->pages().first;
      for (auto skip = position / page_size; skip > 0; --skip)
        page = pool.next(page);
    }
  } else {
    s.pages = *pool.take(s.segments);
    page = s.pages.first;
    if (op == wire::blkif_op::write) {
      auto at = rest.begin - r.offset;
      auto left = bytes;
      for (auto to = page; left > 0; to = pool.next(to)) {
        const auto count = std::min<std::uint64_t>(left, page_size);
        copy_from_request(r, at, {pool.data(to), static_cast<std::size_t>(count)});
        at += count;
        left -= count;
      }
    }
  }
  put_data(s, page, position);
  return bytes;
}

void engine::put_data(slot& s, blk::page_index first_page, std::uint64_t position) noexcept {
  statistics_.segments.add(s.segments);
  if (s.segments <= direct_segments)
    put_direct(s, first_page, position);
  else
    put_indirect(s, first_page, position);
}

void engine::put_direct(slot& s, blk::page_index page, std::uint64_t position) noexcept {
  wire::blkif_request request;
  request.operation = static_cast<std::uint8_t>(s.op);
  request.nr_segments = static_cast<std::uint8_t>(s.segments);
  request.handle = setup_.handle;
  request.pad = 0;
  request.id = s.id;
  request.sector_number = s.bytes.begin / setup_.unit;
  auto left = s.bytes.size();
  for (unsigned i = 0; i < s.segments; ++i) {
    request.seg[i] = segment_at(position, left, setup_.unit, setup_.data.refs[page]);
    const auto done = std::min<std::uint64_t>(left, page_size - position % page_size);
    position += done;
    left -= done;
    if (left > 0 || position % page_size == 0) page = setup_.data.pages->next(page);
  }
  if (s.r != nullptr) s.r->device.cursor = page;
  ring_.put(request);
}

void engine::put_indirect(slot& s, blk::page_index page, std::uint64_t position) noexcept {
  constexpr auto per_page = wire::blkif_segments_per_indirect_page;
  auto& descriptors = *setup_.indirect.pages;
  s.indirect = *descriptors.take((s.segments + per_page - 1) / per_page);
  wire::blkif_indirect_request request{};
  request.operation = static_cast<std::uint8_t>(wire::blkif_op::indirect);
  request.indirect_op = static_cast<std::uint8_t>(s.op);
  request.nr_segments = s.segments;
  request.id = s.id;
  request.sector_number = s.bytes.begin / setup_.unit;
  request.handle = setup_.handle;
  auto left = s.bytes.size();
  auto table = s.indirect.first;
  for (unsigned i = 0; i < s.segments; ++i) {
    if (i % per_page == 0) {
      if (i != 0) table = descriptors.next(table);
      request.indirect_grefs[i / per_page] = raw(setup_.indirect.refs[table]);
    }
    auto* const segments = reinterpret_cast<wire::blkif_segment*>(descriptors.data(table));
    segments[i % per_page] = segment_at(position, left, setup_.unit, setup_.data.refs[page]);
    const auto done = std::min<std::uint64_t>(left, page_size - position % page_size);
    position += done;
    left -= done;
    if (left > 0 || position % page_size == 0) page = setup_.data.pages->next(page);
  }
  s.r->device.cursor = page;
  ++statistics_.indirect_requests;
  ring_.put(request);
}

}  // namespace xenpv::blkfront
