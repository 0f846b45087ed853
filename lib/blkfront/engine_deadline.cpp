// Giving up: on requests whose time is up, on the backend altogether, and on the ring only.
#include <algorithm>

#include "blkfront/engine_state.hpp"

namespace xenpv::blkfront {

/// Takes the request's ring requests from it: the backend may still write to their pages, so those
/// stay out of the pool until it answers.
void engine::orphan_slots(blk::request& r) noexcept {
  orphan_pages* kept = nullptr;
  for (auto& s : slots_) {
    const bool is_piece =
        s.kind == slot_kind::simple || s.kind == slot_kind::data || s.kind == slot_kind::discard;
    if (!is_piece || s.r != &r) continue;
    s.kind = slot_kind::orphan;
    s.r = nullptr;
    if (s.pages.count != 0 || !carries_data(r.op)) continue;
    if (kept == nullptr) kept = &orphans_.emplace_back(orphan_pages{r.pages->pages()});
    ++kept->slots;
    s.kept = kept;
  }
  if (kept != nullptr) r.pages->abandon();
}

/// Takes the request out of every list it may wait in.
void engine::forget_queued(blk::request& r) noexcept {
  const auto drop = [&](request_list& from) {
    for (auto list = std::exchange(from, {}); auto* const each = list.pop();)
      if (each != &r) from.push(*each);
  };
  drop(pending_);
  drop(parked_);
  drop(flushing_);
  std::erase_if(again_, [&](const again& each) { return each.r == &r; });
  for (auto& m : merges_)
    if (m.r == &r) m.r = nullptr;
  for (auto& s : slots_) {
    if (s.kind != slot_kind::flush) continue;
    request_list chain;
    for (auto* each = s.r; each != nullptr;) {
      auto* const next = each->device.next;
      if (each != &r) chain.push(*each);
      each = next;
    }
    s.r = chain.first;
    if (s.r != nullptr) continue;
    // Nobody waits for this flush any more; the next one need not wait for its answer.
    s.kind = slot_kind::orphan;
    flush_in_flight_ = false;
  }
}

void engine::time_out(blk::request& r) noexcept {
  orphan_slots(r);
  forget_queued(r);
  r.status = make_error_code(errc::timed_out);
  ++statistics_.timed_out;
}

std::vector<blk::request*> engine::unfinished_requests(std::uint64_t submitted_before) const {
  std::vector<blk::request*> out;
  const auto add = [&](blk::request* r) {
    if (r != nullptr && r->device.submitted_ns <= submitted_before) out.push_back(r);
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
  for (const auto& list : {pending_, parked_, flushing_})
    add_chain(list.first);
  for (const auto& m : merges_)
    add(m.r);
  for (const auto& each : again_)
    add(each.r);
  // A request may be in several places at once.
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

overdue engine::check_deadlines(std::uint64_t now, std::uint64_t limit) noexcept {
  now_ = now;
  overdue out;
  if (failure_ || now < limit) return out;
  for (const auto& s : slots_)
    if (s.kind != slot_kind::free && s.started_ns + limit <= now) ++out.unanswered;
  const auto late = unfinished_requests(now - limit);
  out.requests = late.size();
  // All of them first: from within `done`, their callers may start and drain.
  for (auto* const r : late)
    time_out(*r);
  for (auto* const r : late)
    finish(*r);
  if (!late.empty() && !holds_.empty()) check_holds();
  return out;
}

void engine::forgive(std::uint64_t frozen_ns) noexcept {
  for (auto* const r : unfinished_requests(~std::uint64_t{0}))
    r->device.submitted_ns += frozen_ns;
  for (auto& s : slots_)
    s.started_ns += frozen_ns;
}

/// Nothing is with the backend any more, and nothing waits.
void engine::forget_all() noexcept {
  for (auto& s : slots_)
    s = {};
  pending_ = parked_ = flushing_ = {};
  again_.clear();
  ready_merges_.clear();
}

void engine::fail(error why) noexcept {
  if (failure_) return;
  failure_ = std::move(why);
  const auto code = failure_->code;
  const auto all = unfinished_requests(~std::uint64_t{0});
  forget_all();
  // The other queues need not wait for what will not be written any more. A lock that is only asked
  // for is given back when it comes.
  for (auto merges = std::exchange(merges_, {}); const auto& m : merges)
    if (m.at != merge::stage::locking) host_.unlock_sector(m.sector);
  for (auto* const r : all) {
    r->status = code;
    finish(*r);
  }
  check_holds();
}

std::vector<blk::request*> engine::surrender() {
  if (failure_) return {};
  auto all = unfinished_requests(~std::uint64_t{0});
  for (const auto& list : {fresh_, refused_})
    for (auto* r = list.first; r != nullptr; r = r->device.next)
      all.push_back(r);
  failure_ = make_error(errc::lost_connection, "use the ring", "its backend is lost");
  fresh_ = refused_ = {};
  forget_all();
  // The locks of all queues are given up together, with the guard that knows them.
  merges_.clear();
  holds_.clear();
  unfinished_ = 0;
  const auto is_earlier = [](const blk::request* a, const blk::request* b) {
    return a->device.order < b->device.order;
  };
  std::sort(all.begin(), all.end(), is_earlier);
  return all;
}

}  // namespace xenpv::blkfront
