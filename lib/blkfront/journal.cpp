#include "blkfront/journal.hpp"

#include <utility>

#include "blkfront/request_data.hpp"
#include "xenpv/blk/page_pool.hpp"

namespace xenpv::blkfront {

bool journal::must_wait(const entry& later, const entry& earlier) noexcept {
  if (later.flushes) return earlier.changes;
  if (!later.changes && !earlier.changes) return false;
  return later.bytes.overlaps(earlier.bytes);
}

bool journal::add(blk::request& r, std::uint64_t since) {
  r.answered_ns = 0;
  const bool flushes = r.op == blk::operation::flush;
  entry fresh{.r = &r,
              .number = ++last_,
              .since = since,
              .bytes = {},
              .changes = !flushes && r.op != blk::operation::read,
              .flushes = flushes,
              .before = 0};
  // Clamp the range; a length that overflows is refused when the request is sent.
  if (!flushes)
    fresh.bytes = {r.offset, r.length > ~r.offset ? ~std::uint64_t{0} : r.offset + r.length};
  for (const auto& earlier : entries_)
    if (must_wait(fresh, earlier)) ++fresh.before;
  const auto it = entries_.insert(entries_.end(), fresh);
  by_ticket_.emplace(fresh.number, it);
  by_request_.emplace(&r, it);
  return fresh.before > 0;
}

void journal::doubt_flushes() noexcept {
  for (auto& queued : entries_)
    queued.in_doubt = queued.in_doubt || queued.flushes || is_fua(*queued.r);
}

void journal::unsend(const blk::request& r) noexcept {
  const auto it = by_request_.find(&r);
  if (it != by_request_.end()) it->second->sent = false;
}

void journal::leave_pages() noexcept {
  for (const auto& queued : entries_)
    // If no memory is available, the lease keeps the old pool and its grants until the request
    // completes.
    if (carries_data(queued.r->op) && queued.r->memory == nullptr && queued.r->pages != nullptr)
      (void)queued.r->pages->move_out();
}

std::vector<journal::ticket> journal::take_ready() {
  std::vector<ticket> out;
  for (auto& queued : entries_) {
    if (queued.sent || queued.before > 0) continue;
    queued.sent = true;
    out.push_back(queued.number);
  }
  return out;
}

void journal::answered(blk::request& r) noexcept {
  const auto it = by_request_.find(&r);
  if (it == by_request_.end()) return;
  const auto done = it->second;
  r.device.submitted_ns = done->since;
  for (auto later = std::next(done); later != entries_.end(); ++later)
    if (must_wait(*later, *done)) --later->before;
  by_request_.erase(it);
  by_ticket_.erase(done->number);
  entries_.erase(done);
}

void journal::answer_all(std::error_code status) noexcept {
  by_request_.clear();
  by_ticket_.clear();
  // Callers may add requests from within `done`.
  for (auto all = std::exchange(entries_, {}); const auto& queued : all) {
    queued.r->status = status;
    queued.r->done(*queued.r);
  }
}

}  // namespace xenpv::blkfront
