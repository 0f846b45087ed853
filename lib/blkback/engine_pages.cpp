// Access to a request's pages: mapped for the request, mapped persistently, or copied.
#include <algorithm>
#include <cstring>

#include "blkback/engine.hpp"
#include "xenpv/base/types.hpp"

namespace xenpv::blkback {

using wire::blkif_op;

/// Copies the segments of an indirect request out of the frontend's pages into descriptors_.
bool engine::read_descriptors(const wire::blkif_indirect_request& request) {
  constexpr auto per_page = wire::blkif_segments_per_indirect_page;
  const std::size_t count = request.nr_segments;
  const auto page_count = (count + per_page - 1) / per_page;
  refs_.assign(request.indirect_grefs, request.indirect_grefs + page_count);
  if (!map(refs_, false, descriptor_pages_)) return false;
  descriptors_.resize(count);
  for (std::size_t i = 0; i < page_count; ++i) {
    const auto segments = std::min(per_page, count - i * per_page);
    std::memcpy(&descriptors_[i * per_page], pages_[i], segments * sizeof(wire::blkif_segment));
  }
  release_pages(descriptor_pages_);
  return true;
}

/// Fills the slot's vectors with the addresses of the data. Returns false if a grant is refused.
bool engine::access_pages(slot& s, const transfer& request) {
  if (personality_.copies_grants) return copy_in(s, request);
  refs_.clear();
  for (const auto& segment : request.segments)
    refs_.push_back(segment.gref);
  if (!map(refs_, request.op == blkif_op::read, s.pages)) return false;
  for (std::size_t i = 0; i < request.segments.size(); ++i) {
    const auto& segment = request.segments[i];
    auto* const at = pages_[i] + (std::size_t{segment.first_sect} << unit_shift_);
    const auto length = (segment.last_sect - segment.first_sect + std::size_t{1}) << unit_shift_;
    auto* const last = s.vectors.empty() ? nullptr : &s.vectors.back();
    if (last != nullptr && static_cast<std::byte*>(last->iov_base) + last->iov_len == at)
      last->iov_len += length;
    else
      s.vectors.push_back({at, length});
  }
  return true;
}

bool engine::copy_in(slot& s, const transfer& request) {
  if (!s.bounce)
    s.bounce = std::make_unique<std::byte[]>(wire::blkif_max_segments_per_request * page_size);
  const auto unit = options_.disk.ring_unit();
  auto* at = s.bounce.get();
  for (const auto& segment : request.segments) {
    const auto length = unit * (segment.last_sect - segment.first_sect + 1U);
    s.copies.push_back({segment.gref, static_cast<std::uint16_t>(segment.first_sect * unit),
                        static_cast<std::uint16_t>(length), at});
    at += length;
  }
  s.vectors.push_back({s.bounce.get(), static_cast<std::size_t>(at - s.bounce.get())});
  return request.op == blkif_op::read || memory_.copy_from(s.copies);
}

/// Maps `refs` and stores the addresses at the front of pages_. release_pages() releases the
/// mapping.
bool engine::map(std::span<const std::uint32_t> refs, bool writable, held_pages& held) {
  if (options_.persistent) return map_persistently(refs, held);
  held.mapping = memory_.map(refs, writable, pages_);
  return held.mapping != 0;
}

bool engine::map_persistently(std::span<const std::uint32_t> refs, held_pages& held) {
  missing_.clear();
  missing_at_.clear();
  const auto use = [&](grant_cache::entry& entry) {
    // In this case, blkback logs an error and maps the page again; both mappings access the same
    // bytes.
    if (entry.users++ != 0) ++statistics_.grants_used_twice;
    held.persistent.push_back(&entry);
    return entry.page;
  };
  for (std::size_t i = 0; i < refs.size(); ++i) {
    if (auto* const entry = cache_.find(refs[i])) {
      pages_[i] = use(*entry);
    } else {
      missing_.push_back(refs[i]);
      missing_at_.push_back(i);
    }
  }
  if (missing_.empty()) return true;
  // A persistent grant may be reused for reads, writes and indirect pages, so always map it
  // writable.
  const auto mapping = memory_.map(missing_, true, missing_pages_);
  if (mapping == 0) {
    release_pages(held);
    return false;
  }
  const bool has_room = cache_.size() + missing_.size() <= grant_cache::capacity;
  for (std::size_t i = 0; i < missing_.size(); ++i) {
    auto*& page = pages_[missing_at_[i]];
    page = missing_pages_[i];
    if (!has_room) continue;
    auto* const duplicate = cache_.find(missing_[i]);
    page = use(duplicate != nullptr ? *duplicate : cache_.insert(missing_[i], page));
  }
  if (has_room)
    persistent_mappings_.push_back(mapping);
  else
    held.mapping = mapping;
  return true;
}

void engine::release_pages(held_pages& held) noexcept {
  for (auto* const entry : held.persistent)
    --entry->users;
  held.persistent.clear();
  if (held.mapping != 0) memory_.unmap(held.mapping);
  held.mapping = 0;
}

}  // namespace xenpv::blkback
