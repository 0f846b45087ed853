// Slots, segments and responses: adds requests to the ring and handles the responses. If a send_*()
// function returns false, the ring is full or too few pages are free: retry after a response.
#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "blkfront/engine_state.hpp"

namespace xenpv::blkfront {
namespace {

constexpr auto direct_segments = static_cast<std::uint32_t>(wire::blkif_max_segments_per_request);

/// In pages. While requests are in flight, it is better to wait for their pages than to send tiny
/// requests.
constexpr std::uint32_t tiny_request = 8;

/// The size of a blkif_request with `segments` segments; only these bytes are copied to the ring.
constexpr std::size_t bytes_of_request(unsigned segments) noexcept {
  return offsetof(wire::blkif_request, seg) + segments * sizeof(wire::blkif_segment);
}

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

bool engine::uses_lease(const blk::request& r) const noexcept {
  return r.memory == nullptr && r.pages != nullptr && r.pages->pool() == setup_.data.pages.get() &&
         r.pages->lead() == (r.offset & sector_mask_);
}

bool engine::takes_pages(const blk::request& r) const noexcept {
  return carries_data(r.op) && !uses_lease(r);
}

/// The fast path for the most frequent request: whole sectors within one page, with no earlier
/// request waiting. Behaves like the slow path, which handles all other requests and all responses
/// other than OKAY. Returns false without effect if `r` is not such a request.
bool engine::send_simple(blk::request& r) noexcept {
  const auto& shape = setup_.shape;
  const bool writes = r.op == blk::operation::write;
  if (!carries_data(r.op) || r.fua || (writes && shape.read_only)) return false;
  // A length of 0 wraps to the largest number and is therefore excluded as well.
  if (r.length - 1 >= page_size || ((r.offset | r.length) & sector_mask_) != 0) return false;
  if (r.length > shape.size || r.offset > shape.size - r.length) return false;
  if (free_slots_.empty() || failure_ || !pending_.empty()) return false;
  if (r.memory != nullptr && !small_.empty()) return false;
  const stretch bytes{r.offset, r.offset + r.length};
  if (writes && gate_.blocks(bytes, r.device.order)) return false;

  auto& pool = *setup_.data.pages;
  blk::page_index page = blk::no_page;
  blk::page_chain own;
  if (r.memory != nullptr) {
    page = pool.take_one();
    if (page == blk::no_page) return false;
    own = {page, page, 1};
    if (writes) std::memcpy(pool.data(page), r.memory, r.length);
  } else {
    if (r.pages == nullptr || r.pages->length() < r.length || !uses_lease(r)) return false;
    page = r.pages->pages().first;
  }
  const auto number = free_slots_.back();
  free_slots_.pop_back();
  // Set only these members: release() and take_slot() leave a free slot's other members cleared.
  auto& s = slots_[number];
  s.r = &r;
  s.id = ++serial_ << 16 | number;
  s.started_ns = now_;
  s.bytes = bytes;
  s.pages = own;
  s.kind = slot_kind::simple;
  s.op = writes ? wire::blkif_op::write : wire::blkif_op::read;
  s.segments = 1;
  set_phase(r, phase::data);
  r.device.planned = r.device.end = s.bytes.end;
  r.device.outstanding = 1;
  statistics_.segments.add(1);
  put_direct(s, page, 0);
  return true;
}

/// Returns true if the whole request is in the ring.
bool engine::send_request(blk::request& r) noexcept {
  if (is_discard(r.op)) return send_discard(r);
  // A part has failed: skip the rest, which cannot change the status.
  if (r.status) {
    const stretch rest{std::exchange(r.device.planned, r.device.end), r.device.end};
    if (changes_data(r.op)) check_holds(rest);
  }
  while (r.device.planned < r.device.end) {
    const auto sent = send_piece(r, {r.device.planned, r.device.end}, false);
    if (sent == 0) return false;
    r.device.planned += sent;
  }
  return true;
}

bool engine::send_discard(blk::request& r) noexcept {
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

std::uint32_t engine::segments_allowed(std::uint32_t needed, bool direct) const noexcept {
  const auto limit = direct ? direct_segments : setup_.segments;
  if (needed <= direct_segments || limit <= direct_segments)
    return std::min(needed, direct_segments);
  const auto allowed = std::min(needed, limit);
  // If too few descriptor pages are free, fall back to a direct request instead of waiting.
  const auto descriptors = (allowed + wire::blkif_segments_per_indirect_page - 1) /
                           wire::blkif_segments_per_indirect_page;
  const bool enough = setup_.indirect.pages && setup_.indirect.pages->free() >= descriptors;
  return enough ? allowed : direct_segments;
}

/// Returns the number of pool pages for a ring request of `r`, at most `needed`; 0 if the request
/// has to wait.
std::uint32_t engine::pages_for(const blk::request& r, std::uint32_t needed) const noexcept {
  const auto& pool = *setup_.data.pages;
  // The reserve is for other requests but must not keep the backend idle.
  const bool is_alone = unfinished_ == 1 || ring_.in_flight() == 0;
  const auto reserve = is_alone || r.length <= blk::small_request ? 0 : pool.reserve();
  const auto free = pool.free() > reserve ? pool.free() - reserve : 0;
  if (free >= needed) return needed;
  const bool is_tiny = free < std::min(needed, tiny_request) && ring_.in_flight() > 0;
  return is_tiny ? 0 : static_cast<std::uint32_t>(free);
}

/// Sends as much of `rest` as fits into one ring request. Returns the number of bytes sent; 0 if
/// `rest` has to wait.
std::uint64_t engine::send_piece(blk::request& r, const stretch& rest, bool direct) noexcept {
  if (free_slots_.empty()) {
    ++statistics_.ring_full;
    return 0;
  }
  const bool leased = uses_lease(r);
  const auto base = r.offset & ~sector_mask_;
  const auto position = leased ? rest.begin - base : 0;
  auto segments = segments_allowed(pages_touched(position, rest.size()), direct);
  auto& pool = *setup_.data.pages;
  bool uses_spare = false;
  if (!leased) {
    auto available = pages_for(r, segments);
    if (available == 0) {
      lack_pages();
      available = spare_pages_.count;
      uses_spare = true;
    }
    if (available == 0) return 0;
    if (available < segments) segments = segments_allowed(available, direct);
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
    s.uses_spare = uses_spare;
    s.pages = uses_spare ? pool.split(spare_pages_, s.segments) : *pool.take(s.segments);
    page = s.pages.first;
    if (op == wire::blkif_op::write) {
      auto source = rest.begin - r.offset;
      auto left = bytes;
      for (auto target = page; left > 0; target = pool.next(target)) {
        const auto count = std::min<std::uint64_t>(left, page_size);
        copy_from_request(r, source, {pool.data(target), static_cast<std::size_t>(count)});
        source += count;
        left -= count;
      }
    }
  }
  put_data(s, page, position);
  return bytes;
}

void engine::put_flush() noexcept {
  const auto op = flush_mode_ == flush_mode::cache ? wire::blkif_op::flush_diskcache
                                                   : wire::blkif_op::write_barrier;
  auto& s = take_slot(slot_kind::flush, op, {});
  s.r = flushing_.first;
  for (const auto* r = s.r->device.next; r != nullptr; r = r->device.next)
    ++statistics_.flushes_merged;
  flushing_ = {};
  flush_in_flight_ = true;
  if (setup_.ledger) flush_covers_ = setup_.ledger->covered();
  wire::blkif_request request{};
  request.operation = static_cast<std::uint8_t>(op);
  request.handle = setup_.handle;
  request.id = s.id;
  ring_.put(request, bytes_of_request(0));
}

void engine::put_merge(sector_merger::merge& m) noexcept {
  const bool reads = m.state == sector_merger::stage::to_read;
  auto& s = take_slot(reads ? slot_kind::merge_read : slot_kind::merge_write,
                      reads ? wire::blkif_op::read : wire::blkif_op::write,
                      {m.sector, m.sector + setup_.shape.sector_size});
  s.merging = &m;
  s.segments = 1;
  put_direct(s, m.page.first, 0);
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
  ring_.put(request, bytes_of_request(s.segments));
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

/// Returns the slot in flight that matches `response`; null if there is none.
engine::slot* engine::find_slot(const wire::blkif_response& response) noexcept {
  const auto number = response.id & 0xFFFF;
  if (number >= slots_.size()) return nullptr;
  auto& s = slots_[number];
  const bool fits = s.id == response.id && s.kind != slot_kind::free &&
                    response.operation == static_cast<std::uint8_t>(s.op);
  return fits ? &s : nullptr;
}

void engine::refuse(const wire::blkif_response& response) noexcept {
  const auto number = response.id & 0xFFFF;
  const auto text = fmt::format("backend answered {} with id {:#x}",
                                to_string(wire::blkif_op{response.operation}), response.id);
  if (number >= slots_.size()) return fail(violation(text + ", which is out of range"));
  const auto& s = slots_[number];
  if (s.kind == slot_kind::free || s.id != response.id)
    return fail(violation(text + ", which is not in flight (duplicate response?)"));
  fail(violation(text + fmt::format(", which belongs to a {}", to_string(s.op))));
}

void engine::handle(const wire::blkif_response& response) noexcept {
  auto* const matching = find_slot(response);
  if (matching == nullptr) return refuse(response);
  const auto result = response.status == 0    ? outcome::okay
                      : response.status == -2 ? outcome::unsupported
                                              : outcome::failed;
  if (matching->kind == slot_kind::simple) {
    if (result == outcome::okay) return answer_simple(*matching);
    matching->kind = slot_kind::data;
  }
  // Release the slot first: the calls below may start new requests in it.
  const auto s = *matching;
  if (s.kind == slot_kind::data && result == outcome::okay && s.op == wire::blkif_op::read)
    copy_back(s);
  release(*matching);
  switch (s.kind) {
    case slot_kind::data:
      return answer_data(s, result);
    case slot_kind::flush:
      return answer_flush(s, result);
    case slot_kind::discard:
      return answer_discard(s, result);
    case slot_kind::merge_read:
    case slot_kind::merge_write:
      return answer_merge(s, result);
    case slot_kind::orphan:
      return answer_orphan(s);
    case slot_kind::simple:
    case slot_kind::free:
      return;
  }
}

void engine::release(slot& s) noexcept {
  auto& pool = *setup_.data.pages;
  if (s.uses_spare) {
    pool.clean(s.pages);
    pool.append(spare_pages_, std::exchange(s.pages, {}));
    s.uses_spare = false;
  } else {
    pool.give_back(std::exchange(s.pages, {}));
  }
  if (s.indirect.count != 0) setup_.indirect.pages->give_back(std::exchange(s.indirect, {}));
  const auto bytes = s.bytes;
  const bool wrote = changes_data(s.op);
  s.merging = nullptr;
  s.orphan_of = nullptr;
  s.kind = slot_kind::free;
  free_slots_.push_back(static_cast<std::uint16_t>(&s - slots_.data()));
  if (wrote && !gate_.is_open()) check_holds(bytes);
}

/// Copies only the requested bytes, because partial sectors are read as whole sectors.
void engine::copy_back(const slot& s) noexcept {
  if (s.pages.count == 0) return;
  const auto& r = *s.r;
  auto page = s.pages.first;
  for (auto offset = s.bytes.begin; offset < s.bytes.end; offset += page_size) {
    const auto begin = std::max(offset, r.offset);
    const auto end = std::min({offset + page_size, s.bytes.end, r.offset + r.length});
    const auto* const data = setup_.data.pages->data(page);
    if (begin < end) copy_to_request(r, begin - r.offset, {data + (begin - offset), end - begin});
    page = setup_.data.pages->next(page);
  }
}

void engine::answer_simple(slot& s) noexcept {
  auto& r = *s.r;
  if (s.pages.count != 0) {
    auto& pool = *setup_.data.pages;
    if (s.op == wire::blkif_op::read) std::memcpy(r.memory, pool.data(s.pages.first), r.length);
    s.pages.count = 0;
    pool.give_back_one(s.pages.first);
  }
  const auto bytes = s.bytes;
  s.kind = slot_kind::free;
  free_slots_.push_back(static_cast<std::uint16_t>(&s - slots_.data()));
  if (!gate_.is_open() && s.op == wire::blkif_op::write) check_holds(bytes);
  r.device.outstanding = 0;
  finish(r);
}

void engine::answer_data(const slot& s, outcome result) noexcept {
  const bool was_indirect = s.segments > wire::blkif_max_segments_per_request;
  if (result == outcome::unsupported && was_indirect) {
    // The backend refused indirect requests, not the data: resend the range as direct requests.
    setup_.segments = wire::blkif_max_segments_per_request;
    again_.push_back({s.r, s.bytes});
    return;
  }
  piece_done(*s.r, result == outcome::okay     ? std::error_code{}
                   : result == outcome::failed ? io_error()
                                               : not_supported());
}

void engine::answer_flush(const slot& s, outcome result) noexcept {
  flush_in_flight_ = false;
  request_list list;
  list.first = list.last = s.r;
  while (list.last->device.next != nullptr)
    list.last = list.last->device.next;
  const bool is_barrier = s.op == wire::blkif_op::write_barrier;
  if (is_barrier && result == outcome::okay) barrier_worked_ = true;
  // Backends that do not support empty barriers respond with ERROR (blkif.md 4). After one
  // successful barrier, an ERROR is a real error.
  if (is_barrier && result == outcome::failed && !barrier_worked_) result = outcome::unsupported;
  if (result != outcome::unsupported) {
    if (setup_.ledger && result == outcome::okay) setup_.ledger->flushed(flush_covers_);
    return finish_all(list, result == outcome::okay ? std::error_code{} : io_error());
  }
  // EOPNOTSUPP at run time turns the feature off; the other flush operation may still work.
  (is_barrier ? setup_.barrier : setup_.flush_cache) = false;
  flush_mode_ = choose_flush_mode();
  if (flush_mode_ == flush_mode::ignored) {
    host_.flush_ignored();
    return finish_ignored_flushes(list);
  }
  if (flush_mode_ != flush_mode::none) {
    flushing_.prepend(list);
    return;
  }
  setup_.shape.can_flush = false;
  host_.shape_changed();
  finish_all(list, not_supported());
  finish_all(std::exchange(flushing_, {}), not_supported());
}

void engine::answer_discard(const slot& s, outcome result) noexcept {
  if (result == outcome::unsupported) {
    auto& feature = s.r->op == blk::operation::secure_discard ? setup_.shape.can_secure_discard
                                                              : setup_.shape.can_discard;
    feature = false;
    host_.shape_changed();
  }
  piece_done(*s.r, result == outcome::okay     ? std::error_code{}
                   : result == outcome::failed ? io_error()
                                               : not_supported());
}

void engine::answer_merge(const slot& s, outcome result) noexcept {
  auto& m = *s.merging;
  // The changed sector is written next.
  if (s.kind == slot_kind::merge_read && result == outcome::okay && merger_.change(m)) return;
  auto* const r = merger_.end(m);
  if (r != nullptr) piece_done(*r, result == outcome::okay ? std::error_code{} : io_error());
}

void engine::answer_orphan(const slot& s) noexcept {
  ++statistics_.answered_late;
  if (s.orphan_of == nullptr || --s.orphan_of->slots > 0) return;
  end_orphan(*s.orphan_of);
}

}  // namespace xenpv::blkfront
