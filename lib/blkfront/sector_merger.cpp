#include "blkfront/sector_merger.hpp"

#include <algorithm>
#include <utility>

#include "blkfront/engine_host.hpp"
#include "blkfront/request_data.hpp"

namespace xenpv::blkfront {
namespace {

/// The number of sectors that are merged concurrently: enough to keep a backend busy with unaligned
/// writes, but a small part of the pool.
std::size_t pages_for_merges(std::size_t pool) noexcept {
  return pool < 128 ? 2 : std::min<std::size_t>(pool / 12, 32);
}

}  // namespace

sector_merger::sector_merger(std::shared_ptr<blk::page_pool> pool, engine_host& host)
    : pool_(std::move(pool)),
      host_(host),
      pages_(pool_->take(pages_for_merges(pool_->size())).value_or(blk::page_chain{})) {}

void sector_merger::start(blk::request& r, const stretch& bytes, std::uint64_t sector) {
  merges_.push_back({&r, bytes, sector});
  host_.lock_sector(sector);
}

bool sector_merger::locked(std::uint64_t sector) noexcept {
  for (auto& m : merges_) {
    if (m.sector != sector || m.state != stage::locking) continue;
    m.state = stage::to_read;
    if (m.r == nullptr) {
      (void)end(m);
      return false;
    }
    ready_.push_back(&m);
    return true;
  }
  // The engine has failed since the lock was requested.
  host_.unlock_sector(sector);
  return false;
}

void sector_merger::drop_ended() noexcept {
  while (!ready_.empty() && ready_.front()->r == nullptr) {
    auto& m = *ready_.front();
    ready_.pop_front();
    (void)end(m);
  }
}

sector_merger::merge* sector_merger::next() noexcept {
  drop_ended();
  if (ready_.empty()) return nullptr;
  auto& m = *ready_.front();
  if (m.state == stage::to_read && m.page.count == 0) {
    // Merges that hold a page are ahead of this one, which gets a page when they end.
    if (pages_.count == 0) return nullptr;
    m.page = pool_->split(pages_, 1);
  }
  return &m;
}

void sector_merger::sent(merge& m) noexcept {
  ready_.pop_front();
  m.state = m.state == stage::to_read ? stage::reading : stage::writing;
}

bool sector_merger::change(merge& m) noexcept {
  if (m.r == nullptr) return false;
  auto* const sector = pool_->data(m.page.first);
  copy_from_request(*m.r, m.bytes.begin - m.r->offset,
                    {sector + (m.bytes.begin - m.sector), m.bytes.size()});
  m.state = stage::to_write;
  ready_.push_front(&m);
  return true;
}

blk::request* sector_merger::end(merge& m) noexcept {
  auto* const r = m.r;
  const auto sector = m.sector;
  pool_->append(pages_, m.page);
  merges_.remove_if([&](const merge& other) { return &other == &m; });
  host_.unlock_sector(sector);
  return r;
}

void sector_merger::forget(const blk::request& r) noexcept {
  for (auto& m : merges_)
    if (m.r == &r) m.r = nullptr;
}

void sector_merger::fail() noexcept {
  ready_.clear();
  // A lock that is still requested is released when it is granted (locked()). The lock of a sector
  // that the backend may still write to is kept.
  for (auto merges = std::exchange(merges_, {}); const auto& m : merges)
    if (m.state != stage::locking && m.state != stage::writing) host_.unlock_sector(m.sector);
}

void sector_merger::clear() noexcept {
  ready_.clear();
  merges_.clear();
}

}  // namespace xenpv::blkfront
