// The short way for the most frequent request of all: whole sectors within one page, nothing in
// front of it. Same checks, same answers; everything else, and every answer but OKAY, takes the
// long way.
#include <cstring>

#include "blkfront/engine_state.hpp"

namespace xenpv::blkfront {
namespace {

/// blkif_request with one segment: what lies behind is not looked at, so it is not written either.
struct one_segment_request {
  std::uint8_t operation;
  std::uint8_t nr_segments;
  std::uint16_t handle;
  std::uint32_t pad;
  std::uint64_t id;
  std::uint64_t sector_number;
  wire::blkif_segment seg;
};
static_assert(sizeof(one_segment_request) == 32);
static_assert(offsetof(one_segment_request, id) == offsetof(wire::blkif_request, id));
static_assert(offsetof(one_segment_request, sector_number) ==
              offsetof(wire::blkif_request, sector_number));
static_assert(offsetof(one_segment_request, seg) == offsetof(wire::blkif_request, seg));

}  // namespace

/// False: not such a request, and nothing was done.
bool engine::start_simple(blk::request& r) noexcept {
  const auto& shape = setup_.shape;
  const bool writes = r.op == blk::operation::write;
  if (!carries_data(r.op) || r.fua || (writes && shape.read_only)) return false;
  // A length of 0 wraps to the largest number.
  if (r.length - 1 >= page_size || ((r.offset | r.length) & sector_mask_) != 0) return false;
  if (r.length > shape.size || r.offset > shape.size - r.length) return false;
  if (!pending_.empty() || !holds_.empty() || free_slots_.empty() || failure_) return false;

  auto& pool = *setup_.data.pages;
  blk::page_index page = blk::no_page;
  blk::page_chain own;
  if (r.memory != nullptr) {
    page = pool.take_one();
    if (page == blk::no_page) return false;
    own = {page, page, 1};
    if (writes) std::memcpy(pool.data(page), r.memory, r.length);
  } else {
    if (r.pages == nullptr || r.pages->length() < r.length || !uses_lease(r)) return false;
    page = r.pages->pages().first;
  }
  const auto number = free_slots_.back();
  free_slots_.pop_back();
  // Not cleared as a whole: a free slot's other members are as release() and take_slot() leave
  // them.
  auto& s = slots_[number];
  s.r = &r;
  s.id = ++serial_ << 16 | number;
  s.started_ns = now_;
  s.bytes = {r.offset, r.offset + r.length};
  s.pages = own;
  s.kind = slot_kind::simple;
  s.op = writes ? wire::blkif_op::write : wire::blkif_op::read;
  s.segments = 1;
  set_phase(r, phase::data);
  r.device.planned = r.device.end = s.bytes.end;
  r.device.outstanding = 1;
  statistics_.segments.add(1);
  one_segment_request request{};
  request.operation = static_cast<std::uint8_t>(s.op);
  request.nr_segments = 1;
  request.handle = setup_.handle;
  request.id = s.id;
  request.sector_number = r.offset / setup_.unit;
  request.seg = segment_at(0, r.length, setup_.unit, setup_.data.refs[page]);
  ring_.put(request);
  return true;
}

void engine::answer_simple(slot& s) noexcept {
  auto& r = *s.r;
  if (s.pages.count != 0) {
    auto& pool = *setup_.data.pages;
    if (s.op == wire::blkif_op::read) std::memcpy(r.memory, pool.data(s.pages.first), r.length);
    s.pages.count = 0;
    pool.give_back_one(s.pages.first);
  }
  s.kind = slot_kind::free;
  free_slots_.push_back(static_cast<std::uint16_t>(&s - slots_.data()));
  r.device.outstanding = 0;
  finish(r);
}

}  // namespace xenpv::blkfront
