// Limits the heap memory that all connections of a server use for data: read data whose reply is
// unsent, received payloads, and buffers kept for reuse. Pages leased from a device do not count.
//
// The server owns the budget, which any thread may use. Each connection has an account and uses it
// on its own thread. An account holds credit, so that most requests do not touch the budget. Does
// not allocate the memory.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>

namespace xenpv::nbd {

class memory_account;

class memory_budget {
 public:
  static constexpr std::uint64_t default_limit = std::uint64_t{256} << 20;
  /// Bytes that each connection can always use. This keeps small requests going while other
  /// connections hold the rest of the budget.
  static constexpr std::uint64_t guaranteed = std::uint64_t{256} << 10;
  /// Larger requests leave an eighth of the budget to smaller ones.
  static constexpr std::uint64_t small = std::uint64_t{1} << 20;

  /// `limit` is in bytes. A request larger than the limit is granted only while no other such
  /// request is in progress; only such a request exceeds the limit.
  explicit memory_budget(std::uint64_t limit = default_limit) noexcept : limit_(limit) {}
  memory_budget(const memory_budget&) = delete;
  memory_budget& operator=(const memory_budget&) = delete;

  /// In bytes. used() includes the guaranteed part of each connection, used or not.
  /// @{
  [[nodiscard]] std::uint64_t limit() const noexcept { return limit_; }
  [[nodiscard]] std::uint64_t used() const noexcept;
  [[nodiscard]] std::uint64_t most_used() const noexcept;
  /// @}
  /// The number of connections that wait for memory.
  [[nodiscard]] std::size_t waiting() const noexcept;
  /// Whether connections wait for memory; cheap, and may be slightly out of date.
  [[nodiscard]] bool is_scarce() const noexcept {
    return is_scarce_.load(std::memory_order_relaxed);
  }

 private:
  friend class memory_account;
  using waiter_list = std::list<memory_account*>;

  void open() noexcept;
  void close() noexcept;
  [[nodiscard]] bool take(memory_account& account, std::uint64_t bytes) noexcept;
  void give_back(memory_account& account, std::uint64_t bytes) noexcept;
  [[nodiscard]] std::uint64_t limit_for(std::uint64_t bytes) const noexcept;
  [[nodiscard]] bool has_room(std::uint64_t bytes) const noexcept;
  void grant(memory_account& account, std::uint64_t bytes) noexcept;
  void grant_to_waiters() noexcept;
  [[nodiscard]] waiter_list& waiters_for(std::uint64_t bytes) noexcept {
    return bytes > small ? large_waiters_ : small_waiters_;
  }
  void note_use() noexcept;
  void note_waiters() noexcept;

  const std::uint64_t limit_;
  mutable std::mutex mutex_;  ///< protects everything below, and the accounts' `wanted_`
  std::uint64_t accounts_ = 0;
  std::uint64_t shared_ = 0;  ///< bytes used beyond the guaranteed parts
  std::uint64_t most_used_ = 0;
  const memory_account* oversized_ = nullptr;  ///< has a request beyond the limit
  waiter_list small_waiters_;                  ///< oldest first
  waiter_list large_waiters_;
  std::atomic<bool> is_scarce_{false};
};

/// The memory of one connection. Used on the connection's thread.
class memory_account {
 public:
  /// `granted` is called when a wait ends: on any thread, with the budget locked. It may only post
  /// a notification.
  memory_account(memory_budget& budget, std::function<void()> granted);
  /// Returns everything.
  ~memory_account();
  memory_account(const memory_account&) = delete;
  memory_account& operator=(const memory_account&) = delete;

  /// Takes `bytes` bytes, or returns false if they are not available now.
  [[nodiscard]] bool try_take(std::uint64_t bytes) noexcept {
    if (used_ + bytes > credit_ && !borrow(used_ + bytes - credit_)) return false;
    used_ += bytes;
    return true;
  }
  /// Like try_take(), but if it fails, queues behind the connections that are already waiting;
  /// `granted` is called when a repeated call will succeed. Throws std::bad_alloc.
  [[nodiscard]] bool take_or_wait(std::uint64_t bytes);
  void give_back(std::uint64_t bytes) noexcept {
    used_ -= bytes;
    if (used_ == 0 || credit_ - used_ > most_unused) return_credit();
  }
  /// Cancels a wait. Bytes that were granted during the wait go to other connections.
  void stop_waiting() noexcept;

  /// In bytes.
  [[nodiscard]] std::uint64_t used() const noexcept { return used_; }
  /// Whether other connections wait for memory.
  [[nodiscard]] bool is_scarce() const noexcept { return budget_.is_scarce(); }

 private:
  friend class memory_budget;
  static constexpr std::uint64_t most_unused = 2 * memory_budget::guaranteed;

  [[nodiscard]] bool borrow(std::uint64_t bytes) noexcept;
  void return_credit() noexcept;

  memory_budget& budget_;
  std::function<void()> granted_;
  std::uint64_t used_ = 0;
  std::uint64_t credit_ = memory_budget::guaranteed;
  bool is_waiting_ = false;
  // Protected by the budget's mutex.
  std::uint64_t wanted_ = 0;       ///< bytes to grant while in a list of waiters
  std::uint64_t granted_now_ = 0;  ///< bytes granted by a wait and not yet part of credit_
  std::uint64_t oversize_ = 0;     ///< bytes to return before another request may exceed the limit
};

}  // namespace xenpv::nbd
