// Decodes requests and decides whether the backend accepts them. Follows blkback's
// dispatch_rw_block_io and dispatch_discard_io, and their equivalents in the other backends.
#include <algorithm>
#include <cstring>

#include "blkback/engine.hpp"
#include "xenpv/base/types.hpp"

namespace xenpv::blkback {
namespace {

using wire::blkif_op;
using wire::blkif_status;

/// Reinterprets a request in another layout of the request union in blkif.h.
template <class Layout>
Layout as(const wire::blkif_request& request) {
  static_assert(sizeof(Layout) <= sizeof request);
  Layout out;
  std::memcpy(&out, &request, sizeof out);
  return out;
}

}  // namespace

void engine::dispatch(const wire::blkif_request& request) {
  const auto op = static_cast<blkif_op>(request.operation);
  switch (op) {
    case blkif_op::read:
    case blkif_op::write:
    case blkif_op::write_barrier:
    case blkif_op::flush_diskcache: {
      ++statistics_.requests[request.operation];
      // A request with too many segments is rejected before its segments are checked.
      const auto count =
          std::min<std::size_t>(request.nr_segments, wire::blkif_max_segments_per_request);
      transfer direct{op, request.id, request.sector_number, {request.seg, count}};
      direct.has_too_many = request.nr_segments > count;
      dispatch_transfer(direct);
      return;
    }
    case blkif_op::discard:
      ++statistics_.requests[request.operation];
      dispatch_discard(as<wire::blkif_discard_request>(request));
      return;
    case blkif_op::indirect:
      ++statistics_.requests[request.operation];
      dispatch_indirect(as<wire::blkif_indirect_request>(request));
      return;
  }
  ++statistics_.unknown_requests;
  refuse_unknown(request.id, op);
}

void engine::refuse_unknown(std::uint64_t id, blkif_op op) {
  respond(id, op, personality_.unknown_is_error ? blkif_status::error : blkif_status::eopnotsupp);
}

bool engine::fails_by_fault() const noexcept {
  return faults_.error_every != 0 && fault_requests_ % faults_.error_every == 0;
}

void engine::dispatch_indirect(const wire::blkif_indirect_request& request) {
  if (options_.disk.max_indirect_segments == 0) {
    refuse_unknown(request.id, blkif_op::indirect);
    return;
  }
  // The response contains the inner operation, not `indirect`.
  const auto op = static_cast<blkif_op>(request.indirect_op);
  if (faults_.refuse_indirect) {
    respond(request.id, op, blkif_status::eopnotsupp);
    return;
  }
  const bool is_valid = (op == blkif_op::read || op == blkif_op::write) &&
                        request.nr_segments != 0 &&
                        request.nr_segments <= options_.disk.max_indirect_segments;
  if (!is_valid || !read_descriptors(request)) {
    respond(request.id, op, blkif_status::error);
    return;
  }
  dispatch_transfer({op, request.id, request.sector_number, descriptors_});
}

/// Returns OKAY, or the error status if the operation is refused regardless of its operands.
blkif_status engine::refusal(blkif_op op) const noexcept {
  const auto& disk = options_.disk;
  if (op == blkif_op::flush_diskcache)
    return disk.flush && !faults_.refuse_flush ? blkif_status::okay : blkif_status::eopnotsupp;
  if (op == blkif_op::write_barrier) {
    if (!personality_.barrier && personality_.unknown_is_error) return blkif_status::error;
    return disk.barrier && !faults_.refuse_flush ? blkif_status::okay : blkif_status::eopnotsupp;
  }
  if (op == blkif_op::discard) {
    if (!personality_.discard && personality_.unknown_is_error) return blkif_status::error;
    return disk.discard && !faults_.refuse_discard ? blkif_status::okay : blkif_status::eopnotsupp;
  }
  return blkif_status::okay;
}

bool engine::is_inside(std::uint64_t sector, std::uint64_t bytes) const noexcept {
  const auto size = options_.disk.size;
  return sector <= size >> unit_shift_ && bytes <= size - (sector << unit_shift_);
}

/// Returns OKAY and stores the request's length in `bytes`, or returns the error status of the
/// response.
blkif_status engine::check(const transfer& request, std::uint64_t& bytes) const {
  if (const auto refused = refusal(request.op); refused != blkif_status::okay) return refused;
  if (fails_by_fault() || request.has_too_many) return blkif_status::error;
  const bool orders =
      request.op == blkif_op::flush_diskcache || request.op == blkif_op::write_barrier;
  if (request.segments.empty()) {
    if (!orders && !personality_.allows_empty) return blkif_status::error;
    // QEMU performs no further checks on an empty flush.
    if (orders && personality_.allows_empty) return blkif_status::okay;
  }
  const auto last_unit = (page_size >> unit_shift_) - 1;
  bytes = 0;
  std::uint64_t misaligned = request.sector_number << unit_shift_;
  for (const auto& segment : request.segments) {
    if (segment.last_sect > last_unit || segment.first_sect > segment.last_sect)
      return blkif_status::error;
    const auto length = (segment.last_sect - segment.first_sect + std::uint64_t{1}) << unit_shift_;
    misaligned |= length;
    bytes += length;
  }
  if (request.op != blkif_op::read && options_.disk.read_only) return blkif_status::error;
  const bool has_range = bytes != 0 || !orders;
  if (has_range && !is_inside(request.sector_number, bytes)) return blkif_status::error;
  return request.segments.empty() || (misaligned & (options_.disk.sector_size - 1)) == 0
             ? blkif_status::okay
             : blkif_status::error;
}

void engine::dispatch_transfer(const transfer& request) {
  std::uint64_t bytes = 0;
  if (const auto refused = check(request, bytes); refused != blkif_status::okay) {
    respond(request.id, request.op, refused);
    return;
  }
  auto& s = take_slot();
  s.id = request.id;
  s.operation = request.op;
  s.offset = bytes == 0 ? 0 : request.sector_number << unit_shift_;
  s.length = bytes;
  s.vectors.clear();
  s.copies.clear();
  if (!request.segments.empty() && !access_pages(s, request)) {
    give_back(s);
    respond(request.id, request.op, blkif_status::error);
    return;
  }
  s.pieces = s.vectors;
  statistics_.segments += request.segments.size();
  if (request.op == blkif_op::read) {
    s.op = store_op::read;
    statistics_.bytes_read += bytes;
  } else if (request.op == blkif_op::write) {
    s.op = store_op::write;
    statistics_.bytes_written += bytes;
  } else {
    // A barrier and a flush both flush first and then write normally, so neither makes its own data
    // durable.
    s.op = store_op::flush;
    s.write_next = bytes != 0;
    statistics_.bytes_written += bytes;
    if (request.op == blkif_op::write_barrier && in_store_ != 0) {
      draining_ = &s;
      return;
    }
  }
  start(s);
}

void engine::dispatch_discard(const wire::blkif_discard_request& request) {
  const auto op = blkif_op::discard;
  const bool secure = (request.flag & wire::blkif_discard_secure) != 0;
  auto status = refusal(op);
  if (status == blkif_status::okay && secure && !options_.disk.secure_discard)
    status = blkif_status::eopnotsupp;
  const bool fits = request.nr_sectors <= options_.disk.size >> unit_shift_ &&
                    is_inside(request.sector_number, request.nr_sectors << unit_shift_);
  const bool aligned = (((request.sector_number | request.nr_sectors) << unit_shift_) &
                        (options_.disk.sector_size - 1)) == 0;
  if (status == blkif_status::okay &&
      (fails_by_fault() || options_.disk.read_only || !fits || !aligned))
    status = blkif_status::error;
  if (status != blkif_status::okay) {
    respond(request.id, op, status);
    return;
  }
  auto& s = take_slot();
  s.id = request.id;
  s.operation = op;
  s.op = secure ? store_op::secure_discard : store_op::discard;
  s.offset = request.sector_number << unit_shift_;
  s.length = request.nr_sectors << unit_shift_;
  s.vectors.clear();
  s.copies.clear();
  s.pieces = {};
  start(s);
}

}  // namespace xenpv::blkback
