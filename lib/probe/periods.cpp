#include "probe/periods.hpp"

#include <algorithm>

namespace xenpv::probe {

periods::periods(time first, time interval, std::uint64_t warm_up, std::size_t keep)
    : due_(first), interval_(interval), warm_up_(warm_up), keep_(keep) {
  kept_.reserve(keep);
}

void periods::woke(time now) {
  woke(now, now < due_ ? 1 : 1 + static_cast<std::uint64_t>((now - due_) / interval_));
}

void periods::woke(time now, std::uint64_t over) {
  // If the clock is coarser than the timer, a wake-up may seem early; it counts as on time.
  const auto late = [now](time due) {
    return static_cast<std::uint64_t>(std::max(now - due, time{}).count());
  };
  const bool counts = warmed_up_ >= warm_up_;
  if (counts) {
    ++wake_ups_;
    lost_ += over - 1;
    last_lateness_ = late(due_);
    wake_lateness_.add(last_lateness_);
    if (kept_.size() < keep_) kept_.push_back({due_, now});
  } else {
    ++warmed_up_;
  }
  for (std::uint64_t i = 0; i < over; ++i, due_ += interval_)
    if (counts) lateness_.add(late(due_));
}

}  // namespace xenpv::probe
