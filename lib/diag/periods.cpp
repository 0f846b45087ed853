#include "diag/periods.hpp"

#include <algorithm>

namespace xenpv::diag {

periods::periods(time first, time interval, std::uint64_t warm_up, std::size_t keep)
    : due_(first), interval_(interval), warm_up_(warm_up), keep_(keep) {
  kept_.reserve(keep);
}

void periods::woke(time now) {
  woke(now, now < due_ ? 1 : 1 + static_cast<std::uint64_t>((now - due_) / interval_));
}

void periods::woke(time now, std::uint64_t over) {
  auto late = now - due_;
  if (warmed_up_ >= warm_up_) {
    ++wake_ups_;
    lost_ += over - 1;
    if (kept_.size() < keep_) kept_.push_back({due_, now});
  }
  for (std::uint64_t i = 0; i < over; ++i, late -= interval_, due_ += interval_)
    // A clock that is coarser than the timer may say "early"; that is on time.
    if (warmed_up_ >= warm_up_)
      lateness_.add(static_cast<std::uint64_t>(std::max(late, time{}).count()));
  if (warmed_up_ < warm_up_) ++warmed_up_;
}

}  // namespace xenpv::diag
