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
  // A length that overflows is refused when the request is sent.
  if (!flushes)
    fresh.bytes = {r.offset, r.length > ~r.offset ? ~std::uint64_t{0} : r.offset + r.length};
  for (const auto& each : entries_)
    if (must_wait(fresh, each)) ++fresh.before;
  const auto at = entries_.insert(entries_.end(), fresh);
  by_ticket_.emplace(fresh.number, at);
  by_request_.emplace(&r, at);
  return fresh.before > 0;
}

void journal::doubt_flushes() noexcept {
  for (auto& each : entries_)
    each.in_doubt = each.in_doubt || each.flushes || is_fua(*each.r);
}

void journal::unsend(const blk::request& r) noexcept {
  const auto found = by_request_.find(&r);
  if (found != by_request_.end()) found->second->sent = false;
}

void journal::leave_pages() noexcept {
  for (const auto& each : entries_)
    // Without memory for it the lease keeps the old pool, and its grants, until it is answered.
    if (carries_data(each.r->op) && each.r->memory == nullptr && each.r->pages != nullptr)
      (void)each.r->pages->move_out();
}

std::vector<journal::ticket> journal::take_ready() {
  std::vector<ticket> out;
  for (auto& each : entries_) {
    if (each.sent || each.before > 0) continue;
    each.sent = true;
    out.push_back(each.number);
  }
  return out;
}

void journal::answered(blk::request& r) noexcept {
  const auto known = by_request_.find(&r);
  if (known == by_request_.end()) return;
  const auto at = known->second;
  r.device.submitted_ns = at->since;
  for (auto later = std::next(at); later != entries_.end(); ++later)
    if (must_wait(*later, *at)) --later->before;
  by_request_.erase(known);
  by_ticket_.erase(at->number);
  entries_.erase(at);
}

void journal::answer_all(std::error_code status) noexcept {
  by_request_.clear();
  by_ticket_.clear();
  // Callers may add more from within.
  for (auto all = std::exchange(entries_, {}); const auto& each : all) {
    each.r->status = status;
    each.r->done(*each.r);
  }
}

}  // namespace xenpv::blkfront
