// From the ring back to the caller.
#include <fmt/format.h>

#include <algorithm>

#include "blkfront/engine_state.hpp"

namespace xenpv::blkfront {
namespace {

error violation(std::string_view what) {
  return make_error(errc::protocol_violation, what,
                    "the backend is broken or hostile; the disk is not used any more");
}

}  // namespace

bool engine::drain(std::uint64_t now) noexcept {
  now_ = now;
  bool any = false;
  while (!failure_) {
    const auto count = ring_.available();
    if (!count) {
      fail(violation(fmt::format("backend published more responses than the {} requests in flight",
                                 ring_.in_flight())));
      return true;
    }
    if (*count == 0) break;
    any = true;
    for (std::uint32_t i = 0; i < *count && !failure_; ++i)
      handle(ring_.take());
  }
  if (any && !holds_.empty()) check_holds();
  return any;
}

/// The request in flight that `response` answers; null if there is none like that.
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
  const auto what = fmt::format("backend answered {} with id {:#x}",
                                to_string(wire::blkif_op{response.operation}), response.id);
  if (number >= slots_.size()) return fail(violation(what + ", which no request can have"));
  const auto& s = slots_[number];
  if (s.kind == slot_kind::free || s.id != response.id)
    return fail(violation(what + ", which is not in flight (answered twice?)"));
  fail(violation(what + fmt::format(", which is a {}", to_string(s.op))));
}

void engine::handle(const wire::blkif_response& response) noexcept {
  auto* const found = find_slot(response);
  if (found == nullptr) return refuse(response);
  const auto result = response.status == 0    ? outcome::okay
                      : response.status == -2 ? outcome::unsupported
                                              : outcome::failed;
  if (found->kind == slot_kind::simple) {
    if (result == outcome::okay) return answer_simple(*found);
    found->kind = slot_kind::data;
  }
  // The answers below may start new requests in the slot, so it is let go of first.
  auto s = *found;
  if (s.kind == slot_kind::data && result == outcome::okay && s.op == wire::blkif_op::read)
    copy_back(s);
  release(*found);
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
  setup_.data.pages->give_back(std::exchange(s.pages, {}));
  if (s.indirect.count != 0) setup_.indirect.pages->give_back(std::exchange(s.indirect, {}));
  s.kind = slot_kind::free;
  free_slots_.push_back(static_cast<std::uint16_t>(&s - slots_.data()));
}

/// Only what was asked for: a read of parts of sectors is sent as whole ones.
void engine::copy_back(const slot& s) noexcept {
  if (s.pages.count == 0) return;
  const auto& r = *s.r;
  auto page = s.pages.first;
  for (auto at = s.bytes.begin; at < s.bytes.end; at += page_size) {
    const auto begin = std::max(at, r.offset);
    const auto end = std::min({at + page_size, s.bytes.end, r.offset + r.length});
    const auto* const data = setup_.data.pages->data(page);
    if (begin < end) copy_to_request(r, begin - r.offset, {data + (begin - at), end - begin});
    page = setup_.data.pages->next(page);
  }
}

void engine::answer_data(slot& s, outcome result) noexcept {
  const bool was_indirect = s.segments > wire::blkif_max_segments_per_request;
  if (result == outcome::unsupported && was_indirect) {
    // The feature, not the data, was refused: send the piece again in requests the backend knows.
    setup_.segments = wire::blkif_max_segments_per_request;
    again_.push_back({s.r, s.bytes});
    return;
  }
  piece_done(*s.r, result == outcome::okay     ? std::error_code{}
                   : result == outcome::failed ? io_error()
                                               : not_supported());
}

void engine::answer_flush(slot& s, outcome result) noexcept {
  flush_in_flight_ = false;
  request_list list;
  list.first = list.last = s.r;
  while (list.last->device.next != nullptr)
    list.last = list.last->device.next;
  if (result != outcome::unsupported) {
    finish_all(list, result == outcome::okay ? std::error_code{} : io_error());
    return;
  }
  // EOPNOTSUPP at run time switches the feature off; the other one may still serve.
  (s.op == wire::blkif_op::flush_diskcache ? setup_.flush_cache : setup_.barrier) = false;
  if (setup_.flush_cache || (setup_.barrier && setup_.only_queue)) {
    flushing_.prepend(list);
    return;
  }
  setup_.shape.can_flush = false;
  host_.shape_changed();
  finish_all(list, not_supported());
  finish_all(std::exchange(flushing_, {}), not_supported());
}

void engine::answer_discard(slot& s, outcome result) noexcept {
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

void engine::answer_merge(slot& s, outcome result) noexcept {
  auto& m = *s.merging;
  if (result != outcome::okay) return end_merge(m, io_error());
  if (s.kind == slot_kind::merge_write || m.r == nullptr) return end_merge(m, {});
  auto* const sector = setup_.data.pages->data(m.page.first);
  copy_from_request(*m.r, m.bytes.begin - m.r->offset,
                    {sector + (m.bytes.begin - m.sector), m.bytes.size()});
  m.at = merge::stage::to_write;
  ready_merges_.push_front(&m);
}

void engine::answer_orphan(slot& s) noexcept {
  ++statistics_.answered_late;
  if (s.kept == nullptr || --s.kept->slots > 0) return;
  setup_.data.pages->give_back(s.kept->pages);
  orphans_.remove_if([&](const orphan_pages& each) { return &each == s.kept; });
}

void engine::end_merge(merge& m, std::error_code status) noexcept {
  auto* const r = m.r;
  const auto sector = m.sector;
  setup_.data.pages->append(merge_pages_, m.page);
  merges_.remove_if([&](const merge& each) { return &each == &m; });
  host_.unlock_sector(sector);
  if (r != nullptr) piece_done(*r, status);
}

void engine::piece_done(blk::request& r, std::error_code status) noexcept {
  if (status && !r.status) r.status = status;
  if (--r.device.outstanding == 0 && r.device.planned >= r.device.end) conclude(r);
}

/// All data is where it belongs, or some of it failed.
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

void engine::finish(blk::request& r) noexcept {
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

}  // namespace xenpv::blkfront
