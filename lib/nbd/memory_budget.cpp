#include "nbd/memory_budget.hpp"

#include <algorithm>
#include <utility>

namespace xenpv::nbd {

std::uint64_t memory_budget::used() const noexcept {
  const std::lock_guard lock(mutex_);
  return accounts_ * guaranteed + shared_;
}

std::uint64_t memory_budget::most_used() const noexcept {
  const std::lock_guard lock(mutex_);
  return most_used_;
}

std::size_t memory_budget::waiting() const noexcept {
  const std::lock_guard lock(mutex_);
  return small_waiters_.size() + large_waiters_.size();
}

void memory_budget::note_use() noexcept {
  most_used_ = std::max(most_used_, accounts_ * guaranteed + shared_);
}

void memory_budget::note_waiters() noexcept {
  is_scarce_.store(!small_waiters_.empty() || !large_waiters_.empty(), std::memory_order_relaxed);
}

void memory_budget::open() noexcept {
  const std::lock_guard lock(mutex_);
  ++accounts_;
  note_use();
}

void memory_budget::close() noexcept {
  const std::lock_guard lock(mutex_);
  --accounts_;
  grant_to_waiters();
}

/// Returns the maximum value that `shared_` may reach when a request of `bytes` bytes is granted.
std::uint64_t memory_budget::limit_for(std::uint64_t bytes) const noexcept {
  // With very many connections, the guaranteed parts use at most half of the budget.
  const auto all = limit_ - std::min(accounts_ * guaranteed, limit_ / 2);
  return bytes > small ? all - all / 8 : all;
}

bool memory_budget::has_room(std::uint64_t bytes) const noexcept {
  const auto limit = limit_for(bytes);
  if (bytes > limit) return oversized_ == nullptr;
  return shared_ <= limit - bytes;
}

void memory_budget::grant(memory_account& account, std::uint64_t bytes) noexcept {
  if (bytes > limit_for(bytes)) {
    oversized_ = &account;
    account.oversize_ = bytes;
  }
  shared_ += bytes;
  note_use();
}

/// Returns false without taking anything if other connections wait or if there is no room.
bool memory_budget::take(memory_account& account, std::uint64_t bytes) noexcept {
  if (!waiters_for(bytes).empty() || !has_room(bytes)) return false;
  grant(account, bytes);
  return true;
}

void memory_budget::give_back(memory_account& account, std::uint64_t bytes) noexcept {
  shared_ -= bytes;
  account.oversize_ -= std::min(account.oversize_, bytes);
  if (oversized_ == &account && account.oversize_ == 0) oversized_ = nullptr;
  grant_to_waiters();
}

void memory_budget::grant_to_waiters() noexcept {
  for (auto* const waiters : {&small_waiters_, &large_waiters_}) {
    while (!waiters->empty() && has_room(waiters->front()->wanted_)) {
      auto& account = *waiters->front();
      waiters->pop_front();
      account.granted_now_ = std::exchange(account.wanted_, 0);
      grant(account, account.granted_now_);
      account.granted_();
    }
  }
  note_waiters();
}

memory_account::memory_account(memory_budget& budget, std::function<void()> granted)
    : budget_(budget), granted_(std::move(granted)) {
  budget_.open();
}

memory_account::~memory_account() {
  stop_waiting();
  used_ = 0;
  return_credit();
  budget_.close();
}

/// Increases the credit by at least `bytes`.
bool memory_account::borrow(std::uint64_t bytes) noexcept {
  const std::lock_guard lock(budget_.mutex_);
  if (is_waiting_) {
    if (granted_now_ == 0) return false;
    is_waiting_ = false;
    const auto granted = std::exchange(granted_now_, 0);
    credit_ += granted;
    if (granted >= bytes) return true;
    bytes -= granted;
  }
  // Small requests borrow more than they need, so that the next ones do not have to.
  const auto rounded = std::max(bytes, memory_budget::guaranteed);
  for (const auto amount : {rounded, bytes}) {
    if (!budget_.take(*this, amount)) continue;
    credit_ += amount;
    return true;
  }
  return false;
}

bool memory_account::take_or_wait(std::uint64_t bytes) {
  if (try_take(bytes)) {
    // The connection's own memory may have sufficed before a grant.
    if (is_waiting_) stop_waiting();
    return true;
  }
  const std::lock_guard lock(budget_.mutex_);
  if (std::exchange(is_waiting_, true)) return false;
  wanted_ = used_ + bytes - credit_;
  budget_.waiters_for(wanted_).push_back(this);
  budget_.note_waiters();
  return false;
}

void memory_account::stop_waiting() noexcept {
  if (!std::exchange(is_waiting_, false)) return;
  const std::lock_guard lock(budget_.mutex_);
  credit_ += std::exchange(granted_now_, 0);
  wanted_ = 0;
  budget_.small_waiters_.remove(this);
  budget_.large_waiters_.remove(this);
  const auto kept = std::max(used_, memory_budget::guaranteed);
  if (credit_ > kept) budget_.give_back(*this, std::exchange(credit_, kept) - kept);
  budget_.grant_to_waiters();
}

void memory_account::return_credit() noexcept {
  const auto kept = std::max(used_, memory_budget::guaranteed);
  if (credit_ <= kept) return;
  const auto unused = std::exchange(credit_, kept) - kept;
  const std::lock_guard lock(budget_.mutex_);
  budget_.give_back(*this, unused);
}

}  // namespace xenpv::nbd
