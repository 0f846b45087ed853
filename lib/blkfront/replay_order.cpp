#include "blkfront/replay_order.hpp"

namespace xenpv::blkfront {

bool replay_order::must_wait(const replay_item& later, const replay_item& earlier) noexcept {
  if (later.flushes) return earlier.changes;
  if (!later.changes && !earlier.changes) return false;
  return later.begin < earlier.end && earlier.begin < later.end;
}

replay_order::ticket replay_order::add(const replay_item& item) {
  entry fresh{item, 0, false};
  for (const auto& [number, earlier] : items_)
    if (must_wait(item, earlier.item)) ++fresh.before;
  items_.emplace(++last_, fresh);
  return last_;
}

std::vector<replay_order::ticket> replay_order::take_ready() {
  std::vector<ticket> out;
  for (auto& [number, each] : items_) {
    if (each.sent || each.before > 0) continue;
    each.sent = true;
    out.push_back(number);
  }
  return out;
}

void replay_order::answered(ticket which) {
  const auto found = items_.find(which);
  if (found == items_.end()) return;
  for (auto later = std::next(found); later != items_.end(); ++later)
    if (must_wait(later->second.item, found->second.item)) --later->second.before;
  items_.erase(found);
}

void replay_order::unsend(ticket which) {
  const auto found = items_.find(which);
  if (found != items_.end()) found->second.sent = false;
}

}  // namespace xenpv::blkfront
