// From the caller to the list of what can be sent.
#include <algorithm>

#include "blkfront/engine_state.hpp"

namespace xenpv::blkfront {

std::error_code engine::check(const blk::request& r) const noexcept {
  const auto& shape = setup_.shape;
  if (failure_) return failure_->code;
  if (r.op == blk::operation::flush) return shape.can_flush ? std::error_code{} : not_supported();
  if (shape.size == 0) return {ENOMEDIUM, std::generic_category()};
  if (r.length > shape.size || r.offset > shape.size - r.length)
    return std::make_error_code(std::errc::invalid_argument);
  if (r.op != blk::operation::read && shape.read_only)
    return std::make_error_code(std::errc::read_only_file_system);
  if (r.op == blk::operation::discard && !shape.can_discard) return not_supported();
  if (r.op == blk::operation::secure_discard) {
    if (!shape.can_secure_discard) return not_supported();
    // Not advice: what was asked for is erased, neither more nor less.
    if (((r.offset | r.length) & sector_mask_) != 0)
      return std::make_error_code(std::errc::invalid_argument);
  }
  if (is_fua(r) && !shape.can_flush) return not_supported();
  if (carries_data(r.op) && r.length != 0) {
    if (r.memory == nullptr && (r.pages == nullptr || r.pages->length() < r.length))
      return std::make_error_code(std::errc::invalid_argument);
  }
  return {};
}

/// Fills in what the request needs of the device. False: it is answered already.
bool engine::prepare(blk::request& r) noexcept {
  r.status = check(r);
  if (r.status) return false;
  set_phase(r, phase::data);
  const stretch bytes{r.offset, r.offset + r.length};
  stretch sent = bytes;
  switch (r.op) {
    case blk::operation::flush:
      set_phase(r, phase::flush);
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
  r.device.planned = sent.begin;
  r.device.end = sent.end;
  // With FUA even an empty write is a promise about those before it.
  return r.length != 0 || is_fua(r);
}

void engine::accept_fresh(std::uint64_t now) noexcept {
  for (auto list = std::exchange(fresh_, {}); auto* const r = list.pop();) {
    r->device.submitted_ns = now;
    if (start_simple(*r)) continue;
    if (!prepare(*r))
      refused_.push(*r);
    else if (phase_of(*r) == phase::flush)
      flushing_.push(*r);
    else if (is_held(*r, {r->offset, r->offset + r->length}))
      parked_.push(*r);
    else
      begin(*r);
  }
}

/// Whether the request would write to a held sector with these bytes of it.
bool engine::is_held(const blk::request& r, const stretch& bytes) const noexcept {
  if (r.op == blk::operation::read) return false;
  for (const auto& held : holds_)
    if (bytes.overlaps({held.sector, held.sector + setup_.shape.sector_size})) return true;
  return false;
}

void engine::begin(blk::request& r) noexcept {
  const bool is_odd = ((r.offset | r.length) & sector_mask_) != 0;
  if (r.op == blk::operation::write && r.length != 0 && is_odd) {
    const auto plan = plan_write({r.offset, r.offset + r.length}, setup_.shape.sector_size);
    // Counted before the first lock is asked for: the answer may come at once.
    r.device.outstanding = (plan.head ? 1U : 0U) + (plan.tail ? 1U : 0U);
    if (!plan.middle.empty()) pending_.push(r);
    if (plan.head) add_merge(r, *plan.head);
    if (plan.tail) add_merge(r, *plan.tail);
    return;
  }
  pending_.push(r);
}

void engine::add_merge(blk::request& r, const stretch& bytes) {
  const auto sector = bytes.begin & ~sector_mask_;
  merges_.push_back({&r, bytes, sector});
  ++statistics_.read_modify_writes;
  host_.lock_sector(sector);
}

void engine::sector_locked(std::uint64_t sector) noexcept {
  for (auto& m : merges_) {
    if (m.sector != sector || m.at != merge::stage::locking) continue;
    if (m.r == nullptr) return end_merge(m, {});
    m.at = merge::stage::to_read;
    ready_merges_.push_back(&m);
    host_.wanted();
    return;
  }
  // Whoever asked is gone: the engine has failed since.
  host_.unlock_sector(sector);
}

void engine::hold_sector(std::uint64_t sector) {
  holds_.push_back({sector, false});
  check_holds();
}

void engine::release_sector(std::uint64_t sector) noexcept {
  std::erase_if(holds_, [&](const held_sector& held) { return held.sector == sector; });
  // Asked anew: another of the sectors it touches may still be held.
  for (auto list = std::exchange(parked_, {}); auto* const r = list.pop();) {
    if (is_held(*r, {r->offset, r->offset + r->length}))
      parked_.push(*r);
    else
      begin(*r);
  }
  host_.wanted();
}

bool engine::is_writing(std::uint64_t sector) const noexcept {
  const stretch whole{sector, sector + setup_.shape.sector_size};
  for (const auto& s : slots_) {
    const bool writes = s.op == wire::blkif_op::write || s.op == wire::blkif_op::discard;
    const bool plain = s.kind == slot_kind::simple || s.kind == slot_kind::data ||
                       s.kind == slot_kind::discard || s.kind == slot_kind::orphan;
    if (plain && writes && s.bytes.overlaps(whole)) return true;
  }
  // Not those that are still to be sent: they wait for the release. If it were the other way round,
  // a merge could wait for a write that waits for the pages of the merge's own request.
  return false;
}

void engine::check_holds() noexcept {
  const auto is_due = [&](const held_sector& held) {
    return !held.reported && !is_writing(held.sector);
  };
  // From the start each time: from within the call, holds may come and go.
  for (;;) {
    const auto due = std::find_if(holds_.begin(), holds_.end(), is_due);
    if (due == holds_.end()) return;
    due->reported = true;
    host_.sector_held(due->sector);
  }
}

}  // namespace xenpv::blkfront
