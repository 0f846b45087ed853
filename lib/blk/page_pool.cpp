#include "xenpv/blk/page_pool.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

namespace xenpv::blk {
namespace {

page_waiter** end_of(page_waiter*& list) noexcept {
  auto** end = &list;
  while (*end != nullptr)
    end = &(*end)->next;
  return end;
}

}  // namespace

page_pool::page_pool(std::span<std::byte> memory, std::shared_ptr<const void> owner, bool scrub)
    : memory_(memory),
      owner_(std::move(owner)),
      scrub_(scrub),
      next_(memory.size() / page_size, no_page) {
  free_ = least_free_ = next_.size();
  for (std::size_t i = next_.size(); i-- > 0;) {
    next_[i] = head_;
    head_ = static_cast<page_index>(i);
  }
}

std::optional<page_chain> page_pool::take(std::size_t count) noexcept {
  if (count == 0 || count > free_) return std::nullopt;
  page_chain chain{head_, head_, static_cast<std::uint16_t>(count)};
  for (std::size_t i = 1; i < count; ++i)
    chain.last = next_[chain.last];
  head_ = std::exchange(next_[chain.last], no_page);
  free_ -= count;
  least_free_ = std::min(least_free_, free_);
  return chain;
}

void page_pool::scrub(const page_chain& pages) noexcept {
  auto page = pages.first;
  for (unsigned i = 0; i < pages.count; ++i) {
    std::memset(data(page), 0, page_size);
    page = next_[page];
  }
}

void page_pool::give_back(page_chain pages) noexcept {
  if (pages.count == 0) return;
  if (scrub_) scrub(pages);
  next_[pages.last] = head_;
  head_ = pages.first;
  free_ += pages.count;
  // A waiter that still lacks pages registers again, behind the others, and is not woken a second
  // time for these pages.
  *end_of(to_wake_) = std::exchange(waiters_, nullptr);
  wake_collected();
}

void page_pool::wake_all() noexcept {
  *end_of(to_wake_) = std::exchange(waiters_, nullptr);
  wake_collected();
}

void page_pool::wake_collected() noexcept {
  // If called from within a wake(), the outer loop also wakes these waiters.
  if (waking_) return;
  waking_ = true;
  while (to_wake_ != nullptr) {
    auto* const waiter = to_wake_;
    to_wake_ = std::exchange(waiter->next, nullptr);
    waiter->waiting = false;
    waiter->wake(*waiter);
  }
  waking_ = false;
}

page_chain page_pool::split(page_chain& chain, std::size_t count) noexcept {
  if (count == 0) return {};
  page_chain front{chain.first, chain.first, static_cast<std::uint16_t>(count)};
  for (std::size_t i = 1; i < count; ++i)
    front.last = next_[front.last];
  chain.first = std::exchange(next_[front.last], no_page);
  chain.count = static_cast<std::uint16_t>(chain.count - count);
  if (chain.count == 0) chain = {};
  return front;
}

void page_pool::append(page_chain& chain, page_chain tail) noexcept {
  if (tail.count == 0) return;
  if (chain.count == 0) {
    chain = tail;
    return;
  }
  next_[chain.last] = tail.first;
  chain.last = tail.last;
  chain.count = static_cast<std::uint16_t>(chain.count + tail.count);
}

void page_pool::wait(page_waiter& waiter) noexcept {
  if (waiter.waiting) return;
  waiter.waiting = true;
  waiter.next = nullptr;
  *end_of(waiters_) = &waiter;
}

void page_pool::stop_waiting(page_waiter& waiter) noexcept {
  if (!waiter.waiting) return;
  for (auto** list : {&waiters_, &to_wake_}) {
    for (auto** link = list; *link != nullptr; link = &(*link)->next) {
      if (*link != &waiter) continue;
      *link = waiter.next;
      waiter.waiting = false;
      return;
    }
  }
}

lease::lease(std::shared_ptr<page_pool> pool, page_chain pages, std::uint32_t lead,
             std::uint64_t length) noexcept
    : pool_(std::move(pool)), pages_(pages), lead_(lead), length_(length) {}

lease::lease(lease&& other) noexcept
    : pool_(std::move(other.pool_)),
      pages_(std::exchange(other.pages_, {})),
      lead_(other.lead_),
      length_(std::exchange(other.length_, 0)) {}

lease& lease::operator=(lease&& other) noexcept {
  if (this == &other) return *this;
  if (pages_.count != 0) give_back();
  pool_ = std::move(other.pool_);
  pages_ = std::exchange(other.pages_, {});
  lead_ = other.lead_;
  length_ = std::exchange(other.length_, 0);
  return *this;
}

std::optional<lease> lease::try_take(const std::shared_ptr<page_pool>& pool, std::uint64_t offset,
                                     std::uint64_t length, std::uint32_t sector_size) noexcept {
  lease taken;
  if (!taken.take(pool, offset, length, sector_size)) return std::nullopt;
  return taken;
}

bool lease::take_several(const std::shared_ptr<page_pool>& pool, std::uint32_t lead,
                         std::uint64_t length) noexcept {
  // Must precede the sum below, which an untrusted length could overflow.
  if (length == 0 || length > pool->size() * page_size) return false;
  const auto count = (lead + length + page_size - 1) / page_size;
  const bool is_large = length > small_request;
  if (is_large && (pool->has_waiters() || pool->free() < count + pool->reserve())) return false;
  const auto pages = pool->take(count);
  if (!pages) return false;
  set(pool, *pages, lead, length);
  return true;
}

void lease::copy_from(std::uint64_t offset, std::span<const std::byte> data) const {
  for_each_span(offset, data.size(), [&](std::span<std::byte> piece) {
    std::memcpy(piece.data(), data.data(), piece.size());
    data = data.subspan(piece.size());
  });
}

void lease::copy_to(std::uint64_t offset, std::span<std::byte> buffer) const {
  for_each_span(offset, buffer.size(), [&](std::span<std::byte> piece) {
    std::memcpy(buffer.data(), piece.data(), piece.size());
    buffer = buffer.subspan(piece.size());
  });
}

void lease::abandon() noexcept {
  pages_ = {};
  lead_ = 0;
  length_ = 0;
}

bool lease::move_out() noexcept {
  try {
    const auto bytes = std::size_t{pages_.count} * page_size;
    const std::shared_ptr<std::byte[]> memory(new std::byte[bytes]);
    auto fresh = std::make_shared<page_pool>(std::span(memory.get(), bytes), memory);
    const auto taken = fresh->take(pages_.count);
    if (!taken) return false;
    auto source = pages_.first;
    auto target = taken->first;
    for (unsigned i = 0; i < taken->count; ++i) {
      std::memcpy(fresh->data(target), pool_->data(source), page_size);
      source = pool_->next(source);
      target = fresh->next(target);
    }
    pool_->give_back(std::exchange(pages_, *taken));
    pool_ = std::move(fresh);
  } catch (const std::bad_alloc&) {
    return false;
  }
  return true;
}

}  // namespace xenpv::blk
