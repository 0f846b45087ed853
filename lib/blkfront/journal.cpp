#include "blkfront/journal.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "blkfront/request_data.hpp"
#include "xenpv/blk/page_pool.hpp"

namespace xenpv::blkfront {

void journal::hold(blk::request& r, std::uint64_t since) {
  r.answered_ns = 0;
  const bool flushes = r.op == blk::operation::flush;
  replay_item item{.flushes = flushes};
  if (!flushes) {
    item.begin = r.offset;
    // Somebody's length may be anything: it is judged when it is sent.
    item.end = r.length > ~r.offset ? ~std::uint64_t{0} : r.offset + r.length;
    item.changes = r.op != blk::operation::read;
  }
  const auto ticket = order_.add(item);
  requests_.emplace(ticket, held{&r, since});
  tickets_.emplace(&r, ticket);
}

void journal::unsend(const blk::request& r) {
  const auto known = tickets_.find(&r);
  if (known != tickets_.end()) order_.unsend(known->second);
}

void journal::leave_pages() noexcept {
  for (const auto& [ticket, each] : requests_)
    // Without memory for it the lease keeps the old pool, and its grants, until it is answered.
    if (carries_data(each.r->op) && each.r->memory == nullptr && each.r->pages != nullptr)
      (void)each.r->pages->move_out();
}

void journal::answered(blk::request& r) noexcept {
  const auto known = tickets_.find(&r);
  if (known == tickets_.end()) return;
  const auto ticket = known->second;
  tickets_.erase(known);
  const auto found = requests_.find(ticket);
  r.device.submitted_ns = found->second.since;
  requests_.erase(found);
  order_.answered(ticket);
}

void journal::answer_all(std::error_code status) noexcept {
  std::vector<std::pair<replay_order::ticket, blk::request*>> all;
  for (const auto& [ticket, each] : std::exchange(requests_, {})) {
    all.emplace_back(ticket, each.r);
    order_.answered(ticket);
  }
  tickets_.clear();
  std::sort(all.begin(), all.end());
  for (const auto& [ticket, r] : all) {
    r->status = status;
    r->done(*r);
  }
}

}  // namespace xenpv::blkfront
