// Pages of a device that data can be moved into and out of without a copy: a last-in-first-out
// pool, so that the pages used are the warm ones (and, at a Xen backend, those it already has
// mapped).
//
// Shared by the device's queue and the leases taken from it; all of them on one thread. Blocks
// nobody: whoever finds it empty leaves a page_waiter.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "xenpv/base/types.hpp"

namespace xenpv::blk {

/// Bytes up to which a request is a small one (page_pool::reserve).
inline constexpr std::uint64_t small_request = std::uint64_t{32} << 10;

using page_index = std::uint16_t;
inline constexpr page_index no_page = 0xFFFF;

/// Pages in the pool's own linked list; whoever holds it gives it back exactly once.
struct page_chain {
  page_index first = no_page;
  page_index last = no_page;
  std::uint16_t count = 0;
};

/// Told once when pages have come back. Intrusive: belongs to the waiter, which must not die while
/// it waits (see page_pool::stop_waiting).
struct page_waiter {
  void (*wake)(page_waiter&) = nullptr;
  page_waiter* next = nullptr;
  bool waiting = false;
};

class page_pool {
 public:
  /// `memory` is whole pages, fewer than 65535; `owner` keeps it alive. With `scrub`, pages are
  /// zeroed when they come back, because somebody who is not trusted can read them.
  explicit page_pool(std::span<std::byte> memory, std::shared_ptr<const void> owner = nullptr,
                     bool scrub = false);
  page_pool(const page_pool&) = delete;
  page_pool& operator=(const page_pool&) = delete;

  [[nodiscard]] std::size_t size() const noexcept { return next_.size(); }
  [[nodiscard]] std::size_t free() const noexcept { return free_; }
  /// Pages that large requests leave to small ones, so that a few of them cannot make everybody
  /// wait.
  [[nodiscard]] std::size_t reserve() const noexcept { return size() < 64 ? 0 : size() / 8; }
  /// Somebody waits for pages: large leases would overtake it.
  [[nodiscard]] bool has_waiters() const noexcept { return waiters_ != nullptr; }
  /// The fewest that were ever free: how close the pool came to its limit.
  [[nodiscard]] std::size_t least_free() const noexcept { return least_free_; }

  /// `count` pages, or nothing if not that many are free.
  [[nodiscard]] std::optional<page_chain> take(std::size_t count) noexcept;
  /// Returns pages; wakes those who wait, in the order they came.
  void give_back(page_chain pages) noexcept;
  /// The same for one page, the common case: no_page if none is free.
  [[nodiscard]] page_index take_one() noexcept {
    const auto page = head_;
    if (page == no_page) return no_page;
    head_ = std::exchange(next_[page], no_page);
    if (--free_ < least_free_) least_free_ = free_;
    return page;
  }
  void give_back_one(page_index page) noexcept {
    if (scrub_ || waiters_ != nullptr || waking_) return give_back({page, page, 1});
    next_[page] = std::exchange(head_, page);
    ++free_;
  }

  [[nodiscard]] std::byte* data(page_index page) const noexcept {
    return memory_.data() + std::size_t{page} * page_size;
  }
  /// The page after `page` in its chain.
  [[nodiscard]] page_index next(page_index page) const noexcept { return next_[page]; }
  /// Splits the first `count` pages off `chain`, which has at least that many.
  [[nodiscard]] page_chain split(page_chain& chain, std::size_t count) noexcept;
  /// Zeroes pages that are used again without being given back, if this pool scrubs.
  void clean(const page_chain& pages) noexcept {
    if (scrub_) scrub(pages);
  }
  /// Puts `tail` behind `chain`.
  void append(page_chain& chain, page_chain tail) noexcept;

  /// `waiter` is woken once, from within give_back().
  void wait(page_waiter& waiter) noexcept;
  /// It is not woken any more; also from within another's wake(), for one that was to be next.
  void stop_waiting(page_waiter& waiter) noexcept;
  /// Wakes all who wait: this pool has been replaced, and they should look at the new one.
  void wake_all() noexcept;

 private:
  void scrub(const page_chain& pages) noexcept;
  void wake_collected() noexcept;

  std::span<std::byte> memory_;
  std::shared_ptr<const void> owner_;
  bool scrub_;
  std::vector<page_index> next_;
  page_index head_ = no_page;
  std::size_t free_ = 0;
  std::size_t least_free_ = 0;
  page_waiter* waiters_ = nullptr;
  page_waiter* to_wake_ = nullptr;  ///< those whose turn it is in the give_back() under way
  bool waking_ = false;
};

/// Pages of a pool on loan, laid out for one stretch of the device: the first byte lies at the
/// offset within its page that makes sectors of the device whole sectors of the page. Move-only.
class lease {
 public:
  lease() noexcept = default;
  /// Takes over `pages`, of which `length` bytes from `lead` on are used.
  lease(std::shared_ptr<page_pool> pool, page_chain pages, std::uint32_t lead,
        std::uint64_t length) noexcept;
  lease(lease&& other) noexcept;
  lease& operator=(lease&& other) noexcept;
  ~lease();

  /// `length` bytes for the stretch that begins at `offset` of a device with such sectors. nullopt:
  /// not that many pages are free now, for a large one beyond the reserve and with nobody waiting,
  /// or `length` is 0.
  [[nodiscard]] static std::optional<lease> try_take(const std::shared_ptr<page_pool>& pool,
                                                     std::uint64_t offset, std::uint64_t length,
                                                     std::uint32_t sector_size) noexcept;

  [[nodiscard]] explicit operator bool() const noexcept { return pages_.count != 0; }
  [[nodiscard]] std::uint64_t length() const noexcept { return length_; }
  [[nodiscard]] std::uint32_t lead() const noexcept { return lead_; }
  [[nodiscard]] const page_chain& pages() const noexcept { return pages_; }
  [[nodiscard]] const page_pool* pool() const noexcept { return pool_.get(); }

  /// Calls `use(std::span<std::byte>)` for each contiguous stretch of bytes `from` to `from+count`
  /// of the lease, in order.
  template <class Function>
  void for_each_span(std::uint64_t from, std::uint64_t count, Function use) const {
    auto skip = from + lead_;
    auto page = pages_.first;
    for (; skip >= page_size; skip -= page_size)
      page = pool_->next(page);
    while (count > 0) {
      const auto piece = std::min<std::uint64_t>(count, page_size - skip);
      use(std::span<std::byte>(pool_->data(page) + skip, static_cast<std::size_t>(piece)));
      count -= piece;
      skip = 0;
      if (count > 0) page = pool_->next(page);
    }
  }
  void copy_from(std::uint64_t at, std::span<const std::byte> from) const;
  void copy_to(std::uint64_t at, std::span<std::byte> to) const;

  /// The other side may still touch the pages (a request timed out or failed without an answer):
  /// from now on they are the device's to give back. Leaves the lease empty, of length 0.
  void abandon() noexcept;

  /// Moves the bytes into memory of the lease's own and gives the pages back: the device is about
  /// to give up the pool, while this lease's request waits. For the device, while the request is
  /// with it. False: no memory; nothing was done.
  [[nodiscard]] bool move_out() noexcept;

 private:
  std::shared_ptr<page_pool> pool_;
  page_chain pages_;
  std::uint32_t lead_ = 0;
  std::uint64_t length_ = 0;
};

}  // namespace xenpv::blk
