// Requests that end without a response: deadlines, failure, and the return of unanswered requests.
// Also decides which resources the backend may still access (disown()).
#include <algorithm>
#include <utility>

#include "blkfront/engine_state.hpp"

namespace xenpv::blkfront {

/// Call when `r` completes before the backend's responses. Until the backend responds, it owns the
/// ring requests of `r`, their pages and the byte range that they write. Returns the record of
/// these resources, or null if a record is not needed because the engine's own pages return with
/// each slot.
engine::orphaned_request* engine::disown(blk::request& r) noexcept {
  orphaned_request* kept = nullptr;
  bool leased = false;
  for (auto& s : slots_) {
    const bool is_piece =
        s.kind == slot_kind::simple || s.kind == slot_kind::data || s.kind == slot_kind::discard;
    if (!is_piece || s.r != &r) continue;
    s.kind = slot_kind::orphan;
    s.r = nullptr;
    const bool uses_lease_pages = s.pages.count == 0 && carries_data(r.op);
    leased = leased || uses_lease_pages;
    if (!uses_lease_pages && !changes_data(s.op)) continue;
    if (kept == nullptr) kept = &orphans_.emplace_back();
    ++kept->slots;
    s.orphan_of = kept;
    if (!changes_data(s.op)) continue;
    const bool is_first = kept->bytes.empty();
    kept->bytes = {is_first ? s.bytes.begin : std::min(kept->bytes.begin, s.bytes.begin),
                   is_first ? s.bytes.end : std::max(kept->bytes.end, s.bytes.end)};
  }
  if (leased) {
    kept->pages = r.pages->pages();
    r.pages->abandon();
  }
  return kept;
}

/// Call when the backend has responded to all of an orphan's slots, and also when all queues have
/// raised the orphan's fence. Ends the orphan once both conditions are met.
void engine::end_orphan(orphaned_request& orphan) noexcept {
  if (orphan.slots > 0 || orphan.waits != nullptr) return;
  setup_.data.pages->give_back(std::exchange(orphan.pages, {}));
  const auto fence = orphan.fence;
  orphans_.remove_if([&](const orphaned_request& other) { return &other == &orphan; });
  if (fence == 0) return;
  lower_fence(fence);
  if (!setup_.only_queue) host_.lower_fences(fence);
}

/// Removes the request from all lists.
void engine::forget_queued(blk::request& r) noexcept {
  for (auto* const list : {&pending_, &small_, &large_})
    (void)list->remove(r);
  (void)flushing_.remove(r);
  gate_.forget(r);
  std::erase_if(again_, [&](const again& piece) { return piece.r == &r; });
  merger_.forget(r);
  for (auto& s : slots_) {
    if (s.kind != slot_kind::flush) continue;
    request_list chain;
    chain.first = s.r;
    for (chain.last = s.r; chain.last->device.next != nullptr;)
      chain.last = chain.last->device.next;
    (void)chain.remove(r);
    s.r = chain.first;
    if (s.r != nullptr) continue;
    // Requests no longer wait for this flush, so the next flush need not wait for the response.
    s.kind = slot_kind::orphan;
    flush_in_flight_ = false;
  }
}

void engine::time_out(blk::request& r, request_list& done) noexcept {
  auto* const orphan = disown(r);
  forget_queued(r);
  r.status = make_error_code(errc::timed_out);
  ++statistics_.timed_out;
  if (orphan == nullptr || orphan->bytes.empty()) return done.push(r);
  orphan->fence = ++serial_ << 16 | setup_.queue;
  gate_.raise_fence(orphan->fence, orphan->bytes);
  if (setup_.only_queue) return done.push(r);
  // After completion, the caller may write to the same bytes through another queue, so the fence
  // must be raised there first.
  orphan->waits = &r;
}

void engine::fence_raised(std::uint64_t id) noexcept {
  for (auto& orphan : orphans_) {
    if (orphan.fence != id || orphan.waits == nullptr) continue;
    auto* const r = std::exchange(orphan.waits, nullptr);
    end_orphan(orphan);
    return finish(*r);
  }
}

std::vector<blk::request*> engine::unfinished_requests() const {
  std::vector<blk::request*> out;
  const auto add = [&](blk::request* r) {
    if (r != nullptr) out.push_back(r);
  };
  const auto add_chain = [&](blk::request* first) {
    for (auto* r = first; r != nullptr; r = r->device.next)
      add(r);
  };
  for (const auto& s : slots_) {
    if (s.kind == slot_kind::flush)
      add_chain(s.r);
    else if (s.kind != slot_kind::free)
      add(s.r);
  }
  for (const auto* const list : {&pending_, &small_, &large_})
    add_chain(list->first);
  add_chain(flushing_.first);
  gate_.for_each_parked([&](blk::request& r) { add(&r); });
  merger_.for_each([&](const sector_merger::merge& m) { add(m.r); });
  for (const auto& piece : again_)
    add(piece.r);
  for (const auto& orphan : orphans_)
    add(orphan.waits);
  // A request may be in several of these lists.
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

std::vector<blk::request*> engine::late_requests(std::uint64_t limit) const {
  std::vector<blk::request*> late;
  for (const auto& s : slots_) {
    const bool waits = s.kind != slot_kind::free && s.kind != slot_kind::orphan;
    if (!waits || s.started_ns + limit > now_) continue;
    auto* const first = s.merging != nullptr ? s.merging->r : s.r;
    for (auto* r = first; r != nullptr; r = s.kind == slot_kind::flush ? r->device.next : nullptr)
      late.push_back(r);
  }
  std::sort(late.begin(), late.end());
  late.erase(std::unique(late.begin(), late.end()), late.end());
  return late;
}

overdue engine::check_deadlines(std::uint64_t now, std::uint64_t limit) noexcept {
  now_ = now;
  overdue out;
  if (failure_ || now < limit) return out;
  for (const auto& s : slots_)
    if (s.kind != slot_kind::free && s.started_ns + limit <= now) ++out.unanswered;
  const auto late = late_requests(limit);
  out.requests = late.size();
  // Time out all requests first: callers may send and drain from within `done`.
  request_list done;
  std::vector<std::pair<std::uint64_t, stretch>> fences;
  for (auto* const r : late) {
    time_out(*r, done);
    // Fences of an earlier call are already being raised; a fence that is raised twice would never
    // be lowered.
    if (!orphans_.empty() && orphans_.back().waits == r)
      fences.emplace_back(orphans_.back().fence, orphans_.back().bytes);
  }
  while (auto* const r = done.pop())
    finish(*r);
  for (const auto& [id, bytes] : fences)
    host_.raise_fences(id, bytes);
  if (late.empty() || failure_) return out;
  // Write locks and read-modify-writes may have waited for these requests.
  check_holds({0, ~std::uint64_t{0}});
  host_.schedule_send();
  return out;
}

std::uint64_t engine::oldest_unanswered(std::uint64_t now) const noexcept {
  std::uint64_t oldest = 0;
  for (const auto& s : slots_)
    if (s.kind != slot_kind::free && s.started_ns < now)
      oldest = std::max(oldest, now - s.started_ns);
  return failure_ ? 0 : oldest;
}

void engine::extend_deadlines(std::uint64_t frozen_ns) noexcept {
  for (auto* const r : unfinished_requests())
    r->device.submitted_ns += frozen_ns;
  for (auto& s : slots_)
    s.started_ns += frozen_ns;
}

void engine::forget_lists() noexcept {
  pending_ = small_ = large_ = flushing_ = {};
  gate_.forget_parked();
  again_.clear();
}

void engine::fail(error reason) noexcept {
  if (failure_) return;
  failure_ = std::move(reason);
  const auto code = failure_->code;
  const auto all = unfinished_requests();
  for (auto* const r : all)
    (void)disown(*r);
  for (auto& s : slots_) {
    if (s.kind == slot_kind::free) continue;
    s.kind = slot_kind::orphan;
    s.r = nullptr;
    s.merging = nullptr;
  }
  for (auto& orphan : orphans_)
    orphan.waits = nullptr;
  forget_lists();
  const auto held = gate_.waiting_holds({0, ~std::uint64_t{0}});
  merger_.fail();
  for (auto* const r : all) {
    r->status = code;
    finish(*r);
  }
  if (!held.empty()) check_holds({0, ~std::uint64_t{0}});
}

std::vector<blk::request*> engine::take_unfinished() {
  if (failure_) return {};
  auto all = unfinished_requests();
  for (const auto& list : {fresh_, refused_})
    for (auto* r = list.first; r != nullptr; r = r->device.next)
      all.push_back(r);
  failure_ = make_error(errc::lost_connection, "use the ring", "the backend was lost");
  fresh_ = refused_ = {};
  for (auto& s : slots_)
    s = {};
  forget_lists();
  // The locks and fences of all queues end with the connection.
  merger_.clear();
  gate_.clear();
  orphans_.clear();
  unfinished_ = 0;
  const auto is_earlier = [](const blk::request* a, const blk::request* b) {
    return a->device.order < b->device.order;
  };
  std::sort(all.begin(), all.end(), is_earlier);
  return all;
}

}  // namespace xenpv::blkfront
