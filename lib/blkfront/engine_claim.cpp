// Consumes responses in a way that is safe for live migration. Xen's dirty log contains the pages
// that the guest writes, but not those that a backend writes through a persistent grant. The ring
// page is in the log, because the frontend writes to it. The data pages might not be in the log,
// and the new host would then have a response without its data. Therefore drain() first writes to
// each data page of a completed read, which puts the page into the dirty log, and then checks
// whether the guest was suspended. If the guest was not suspended, a later migration transfers the
// data. Otherwise the responses stay in the ring, and the requests are resent after the resume.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>

#include "blkfront/engine.hpp"
#include "blkfront/engine_state.hpp"

namespace xenpv::blkfront {

bool engine::drain(std::uint64_t now) noexcept {
  now_ = now;
  bool any = false;
  while (!failure_) {
    const auto count = ring_.available();
    if (!count) {
      // After a migration, the ring's indices may be stale.
      if (!host_.may_consume_responses()) break;
      fail(violation(fmt::format("backend published more responses than the {} requests in flight",
                                 ring_.in_flight())));
      return true;
    }
    if (*count == 0) break;
    std::array<wire::blkif_response, claimed_at_once> buffer;
    const auto responses = std::span(buffer).first(std::min<std::size_t>(*count, buffer.size()));
    if (!claim(responses)) break;
    any = true;
    for (const auto& response : responses)
      if (!failure_) handle(response);
  }
  return any;
}

/// Copies the next responses and removes them from the ring. Returns false if the responses must
/// not be used.
bool engine::claim(std::span<wire::blkif_response> responses) noexcept {
  for (std::uint32_t i = 0; i < responses.size(); ++i) {
    responses[i] = ring_.peek(i);
    const auto* const s = find_slot(responses[i]);
    if (s != nullptr && s->op == wire::blkif_op::read && responses[i].status == 0) claim_pages(*s);
  }
  if (!host_.may_consume_responses()) return false;
  ring_.consume(static_cast<std::uint32_t>(responses.size()));
  return true;
}

/// Marks each data page of a read in Xen's dirty log without changing the page's contents.
void engine::claim_pages(const slot& s) noexcept {
  auto& pool = *setup_.data.pages;
  auto page = s.pages.first;
  std::uint64_t position = 0;
  if (s.kind == slot_kind::merge_read) {
    page = s.merging->page.first;
  } else if (s.kind != slot_kind::data && s.kind != slot_kind::simple) {
    return;
  } else if (s.pages.count == 0) {
    if (s.r->pages == nullptr) return;
    page = s.r->pages->pages().first;
    position = s.bytes.begin - (s.r->offset & ~sector_mask_);
    for (auto skip = position / page_size; skip > 0; --skip)
      page = pool.next(page);
  }
  const auto end = position + s.bytes.size();
  for (auto offset = position; offset < end; offset = (offset / page_size + 1) * page_size) {
    // Use a byte of this read, because the backend may still write to other bytes of the page.
    volatile auto* const byte = pool.data(page) + offset % page_size;
    *byte = *byte;
    page = pool.next(page);
  }
}

}  // namespace xenpv::blkfront
