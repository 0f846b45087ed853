// A pool of a device's pages for zero-copy I/O. Pages are reused in LIFO order: the most recently
// used ones are warm in the cache and, with a Xen backend, already mapped.
//
// Shared by the device's queue and its leases, all on one thread. Never blocks: when the pool is
// empty, callers register a page_waiter.
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

/// The largest size, in bytes, of a small request. Larger requests must leave page_pool::reserve()
/// pages free for small ones.
inline constexpr std::uint64_t small_request = std::uint64_t{32} << 10;

using page_index = std::uint16_t;              ///< position of a page in its pool
inline constexpr page_index no_page = 0xFFFF;  ///< not a page

/// A linked list of pages of one pool. The owner must return the pages to the pool exactly once.
struct page_chain {
  page_index first = no_page;  ///< page_pool::next() leads from here to `last`
  page_index last = no_page;   ///< its successor is no_page
  std::uint16_t count = 0;     ///< 0: the chain is empty
};

/// Woken once, when pages have been returned to the pool. Intrusive: the caller owns the waiter and
/// must keep it alive until it is woken or removed (see page_pool::stop_waiting).
struct page_waiter {
  void (*wake)(page_waiter&) = nullptr;  ///< set by the caller; must not throw
  page_waiter* next = nullptr;           ///< for the pool only
  bool waiting = false;                  ///< set by the pool until it wakes or removes the waiter
};

class page_pool {
 public:
  /// `memory` consists of fewer than 65535 whole pages; `owner` keeps it alive. `scrub`: zero pages
  /// when they are returned, because the backend is untrusted and can read them.
  explicit page_pool(std::span<std::byte> memory, std::shared_ptr<const void> owner = nullptr,
                     bool scrub = false);
  page_pool(const page_pool&) = delete;
  page_pool& operator=(const page_pool&) = delete;

  /// The number of pages in the pool.
  [[nodiscard]] std::size_t size() const noexcept { return next_.size(); }
  /// The number of pages that can be taken now.
  [[nodiscard]] std::size_t free() const noexcept { return free_; }
  /// Pages reserved for small requests, so that a few large ones cannot block them.
  [[nodiscard]] std::size_t reserve() const noexcept { return size() < 64 ? 0 : size() / 8; }
  /// Whether callers are waiting for pages. A large lease must then wait too, so that it does not
  /// overtake them.
  [[nodiscard]] bool has_waiters() const noexcept { return waiters_ != nullptr; }
  /// The low-water mark of free().
  [[nodiscard]] std::size_t least_free() const noexcept { return least_free_; }

  /// Takes `count` pages; nullopt if fewer are free.
  [[nodiscard]] std::optional<page_chain> take(std::size_t count) noexcept;
  /// Returns pages and wakes the waiters, in order of arrival.
  void give_back(page_chain pages) noexcept;
  /// Like take() for a single page, which is the common case. Returns no_page if none is free.
  [[nodiscard]] page_index take_one() noexcept {
    const auto page = head_;
    if (page == no_page) return no_page;
    head_ = std::exchange(next_[page], no_page);
    if (--free_ < least_free_) least_free_ = free_;
    return page;
  }
  /// Like give_back() for a single page.
  void give_back_one(page_index page) noexcept {
    if (scrub_ || waiters_ != nullptr || waking_) return give_back({page, page, 1});
    next_[page] = std::exchange(head_, page);
    ++free_;
  }

  /// The memory of a page: page_size bytes.
  [[nodiscard]] std::byte* data(page_index page) const noexcept {
    return memory_.data() + std::size_t{page} * page_size;
  }
  /// The page after `page` in its chain.
  [[nodiscard]] page_index next(page_index page) const noexcept { return next_[page]; }
  /// Splits the first `count` pages off `chain`, which must have at least that many.
  [[nodiscard]] page_chain split(page_chain& chain, std::size_t count) noexcept;
  /// If the pool scrubs, zeroes `pages`. For pages that are reused without going back to the pool.
  void clean(const page_chain& pages) noexcept {
    if (scrub_) scrub(pages);
  }
  /// Moves the pages of `tail` to the end of `chain`.
  void append(page_chain& chain, page_chain tail) noexcept;

  /// Registers `waiter`, which is woken once, from within give_back().
  void wait(page_waiter& waiter) noexcept;
  /// Removes `waiter` without waking it. May be called within another waiter's wake(), even if
  /// `waiter` would be next.
  void stop_waiting(page_waiter& waiter) noexcept;
  /// Wakes all waiters. Call when this pool has been replaced: the waiters must use the new pool.
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
  page_waiter* to_wake_ = nullptr;  ///< waiters still to be woken by the current give_back()
  bool waking_ = false;
};

/// Pages borrowed from a pool, laid out for one byte range of the device: the first byte is placed
/// within its page so that device sectors do not cross page boundaries. Move-only.
class lease {
 public:
  lease() noexcept = default;
  /// Takes ownership of `pages`. The data is `length` bytes long and starts at byte `lead` of the
  /// first page.
  lease(std::shared_ptr<page_pool> pool, page_chain pages, std::uint32_t lead,
        std::uint64_t length) noexcept;
  lease(lease&& other) noexcept;
  lease& operator=(lease&& other) noexcept;
  ~lease() {
    if (pages_.count != 0) give_back();
  }

  /// Leases pages for `length` bytes at `offset` of a device with this sector size. Returns nullopt
  /// if `length` is 0 or too few pages are free. A large lease also leaves the reserve untouched
  /// and fails while other callers wait.
  [[nodiscard]] static std::optional<lease> try_take(const std::shared_ptr<page_pool>& pool,
                                                     std::uint64_t offset, std::uint64_t length,
                                                     std::uint32_t sector_size) noexcept;
  /// Like try_take(), for a lease without pages. Returns false where try_take() returns nullopt.
  [[nodiscard]] bool take(const std::shared_ptr<page_pool>& pool, std::uint64_t offset,
                          std::uint64_t length, std::uint32_t sector_size) noexcept {
    const auto lead = static_cast<std::uint32_t>(offset % sector_size);
    if (length == 0 || length > page_size || lead + length > page_size)
      return take_several(pool, lead, length);
    const auto page = pool->take_one();
    if (page == no_page) return false;
    set(pool, {page, page, 1}, lead, length);
    return true;
  }
  /// Returns the pages.
  void reset() noexcept {
    if (pages_.count != 0) give_back();
    pool_.reset();
    length_ = 0;
  }

  /// True if the lease has pages.
  [[nodiscard]] explicit operator bool() const noexcept { return pages_.count != 0; }
  /// The length of the data, in bytes.
  [[nodiscard]] std::uint64_t length() const noexcept { return length_; }
  /// The position of the first data byte in the first page, in bytes.
  [[nodiscard]] std::uint32_t lead() const noexcept { return lead_; }
  /// The pages, in the order of the data. The lease keeps ownership.
  [[nodiscard]] const page_chain& pages() const noexcept { return pages_; }
  /// The pool that the pages return to; nullptr if there is none.
  [[nodiscard]] const page_pool* pool() const noexcept { return pool_.get(); }

  /// Calls `function(std::span<std::byte>)` for each contiguous part of the `count` bytes at
  /// `offset` of the lease, in order.
  template <class Function>
  void for_each_span(std::uint64_t offset, std::uint64_t count, Function function) const {
    auto skip = offset + lead_;
    auto page = pages_.first;
    for (; skip >= page_size; skip -= page_size)
      page = pool_->next(page);
    while (count > 0) {
      const auto piece = std::min<std::uint64_t>(count, page_size - skip);
      function(std::span<std::byte>(pool_->data(page) + skip, static_cast<std::size_t>(piece)));
      count -= piece;
      skip = 0;
      if (count > 0) page = pool_->next(page);
    }
  }
  /// Copies `data` into the lease, starting at byte `offset` of its data. Must fit.
  void copy_from(std::uint64_t offset, std::span<const std::byte> data) const;
  /// Fills `buffer` from byte `offset` of the lease's data, which must be long enough.
  void copy_to(std::uint64_t offset, std::span<std::byte> buffer) const;

  /// Transfers the pages to the device, because the backend may still access them after the request
  /// timed out or failed without a response. Leaves the lease empty, with length 0.
  void abandon() noexcept;

  /// Moves the data to private memory and returns the pages to the pool. The device calls this for
  /// requests that wait while it replaces the pool. Returns false if memory allocation fails; the
  /// lease is then unchanged.
  [[nodiscard]] bool move_out() noexcept;

 private:
  [[nodiscard]] bool take_several(const std::shared_ptr<page_pool>& pool, std::uint32_t lead,
                                  std::uint64_t length) noexcept;
  void set(const std::shared_ptr<page_pool>& pool, page_chain pages, std::uint32_t lead,
           std::uint64_t length) noexcept {
    pool_ = pool;
    pages_ = pages;
    lead_ = lead;
    length_ = length;
  }
  void give_back() noexcept {
    const auto pages = pages_;
    pages_.count = 0;
    if (pages.count == 1)
      pool_->give_back_one(pages.first);
    else
      pool_->give_back(pages);
  }

  std::shared_ptr<page_pool> pool_;  ///< not null if there are pages
  page_chain pages_;
  std::uint32_t lead_ = 0;
  std::uint64_t length_ = 0;
};

}  // namespace xenpv::blk
