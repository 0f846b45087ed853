#include "nbd/dispatcher.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <new>
#include <utility>

namespace xenpv::nbd {
namespace {

using wire::nbd_command;
using wire::nbd_error;

/// A piece of a large request: large enough for one indirect request of the usual size, small
/// enough that moving the next one over the socket overlaps with it.
constexpr std::uint64_t largest_piece = std::uint64_t{256} * 1024;
constexpr std::uint64_t smallest_piece = std::uint64_t{32} * 1024;

/// Pieces that an operation has on their way at once: of zeros, of a CACHE, of a READ in chunks.
constexpr unsigned streams = 4;

/// Pieces whose memory is kept for the next.
constexpr std::size_t most_spare = 16;

/// The share of the pool, as 1/n, that one lease may take.
constexpr std::size_t lease_share = 8;

/// A piece has to fit a lease, with a page for its crooked start. Where the pool is too small for
/// that, pieces live on the heap anyway.
std::uint64_t piece_size_for(const blk::page_pool& pool) {
  const auto pages = pool.size() / lease_share;
  const auto bytes = pages > 2 ? (pages - 2) * page_size : 0;
  if (bytes < smallest_piece) return largest_piece;
  return std::min(std::bit_floor(bytes), largest_piece);
}

/// The next piece of a write, of at most `most` bytes. It ends at a page's end, unless it is
/// the last: the sectors at both ends of an unaligned write have to be merged, and those between
/// must not.
std::uint64_t piece_length(const operation& op, std::uint64_t most) {
  return op.left <= most ? op.left : most - op.at % page_size;
}

/// The one page, so to speak, that all WRITE_ZEROES send; never written to.
std::byte* zeros() {
  static std::array<std::byte, largest_piece> shared{};
  return shared.data();
}

/// Pages that leases leave to the device itself: a client that reads no replies must not stop what
/// others send.
bool may_lease(const blk::page_pool& pool, std::uint64_t bytes) {
  const auto pages = bytes / page_size + 2;
  return pages <= pool.size() / lease_share && pool.free() >= pool.size() / 4 + pages;
}

}  // namespace

dispatcher::dispatcher(blk::block_queue& queue, const export_info& on, session_terms terms,
                       reply_sink& sink, dispatcher_limits limits)
    : queue_(queue),
      export_(on),
      terms_(terms),
      sink_(sink),
      limits_(limits),
      piece_size_(piece_size_for(*queue.pages())) {
  spare_.reserve(most_spare);
}

dispatcher::~dispatcher() = default;

operation& dispatcher::take_operation(const request_header& header) {
  if (free_operations_ == nullptr) {
    operations_.push_back(std::make_unique<operation>());
    free_operations_ = operations_.back().get();
  }
  auto& op = *std::exchange(free_operations_, free_operations_->next);
  op.header = header;
  op.error = nbd_error::none;
  op.first = nullptr;
  op.outstanding = 0;
  op.left = header.length;
  op.at = header.offset;
  op.receiving = nullptr;
  op.received = 0;
  op.flushing = false;
  op.in_chunks = false;
  op.unsent = 0;
  op.ends_with_chunk = false;
  op.last = {};
  op.last.of = &op;
  op.next = nullptr;
  ++in_flight_;
  ++statistics_.requests;
  return op;
}

piece& dispatcher::take_piece(operation& op, blk::operation what, std::uint64_t offset,
                              std::uint64_t length) {
  if (free_pieces_ == nullptr) {
    pieces_.push_back(std::make_unique<piece>());
    free_pieces_ = pieces_.back().get();
    free_pieces_->done = piece_done;
  }
  auto& p = *std::exchange(free_pieces_, free_pieces_->next);
  p.of = &op;
  p.next = op.first;
  op.first = &p;
  p.op = what;
  p.fua = false;
  p.offset = offset;
  p.length = length;
  p.memory = nullptr;
  p.pages = nullptr;
  return p;
}

void dispatcher::drop_memory(piece& p) noexcept {
  p.memory = nullptr;
  p.pages = nullptr;
  p.leased.reset();
  if (p.heap == nullptr) return;
  const auto size = std::exchange(p.heap_size, 0);
  heap_used_ -= size;
  if (size == piece_size_ && spare_.size() < most_spare) spare_.push_back(std::move(p.heap));
  p.heap.reset();
}

/// Pages of the queue while there are plenty: then no byte is copied. Else the heap. False: there
/// is no memory, which the request's error says from then on.
bool dispatcher::give_memory(piece& p) {
  if (may_lease(*queue_.pages(), p.length)) {
    p.leased = queue_.try_lease(p.offset, p.length);
    if (p.leased) {
      p.pages = &*p.leased;
      return true;
    }
  }
  ++statistics_.from_heap;
  // Small ones are cheap to get; the others can share what was got.
  const bool is_usual = p.length <= piece_size_ && p.length > smallest_piece / 2;
  const auto size = static_cast<std::size_t>(is_usual ? piece_size_ : p.length);
  if (is_usual && !spare_.empty()) {
    p.heap = std::move(spare_.back());
    spare_.pop_back();
  } else {
    // Not by an exception: the requests in flight have to be answered all the same.
    p.heap.reset(new (std::nothrow) std::byte[size]);
  }
  if (p.heap == nullptr) {
    p.of->error = nbd_error::enomem;
    return false;
  }
  p.heap_size = size;
  heap_used_ += size;
  p.memory = p.heap.get();
  return true;
}

void dispatcher::submit(piece& p) {
  ++p.of->outstanding;
  p.owner = this;
  queue_.submit(p);
}

operation* dispatcher::begin(const request_header& header, const verdict& judged) {
  auto& op = take_operation(header);
  if (judged.error != nbd_error::none) {
    refuse(op, judged.error, judged.reason);
    return nullptr;
  }
  switch (header.type) {
    case nbd_command::write:
      if (header.length == 0) break;
      open_write_piece(op);
      if (op.receiving != nullptr) return &op;
      break;
    case nbd_command::read:
      if (header.length == 0) break;
      // "the server MUST NOT split it" with DF; without chunks there is only one reply to a read.
      op.in_chunks = terms_.structured && header.length > piece_size_ &&
                     !header.has_flag(wire::nbd_cmd_flag_df);
      if (op.in_chunks) {
        begin_streams(op);
        if (op.outstanding > 0) return nullptr;
        break;
      }
      op.left = 0;
      if (!give_memory(take_piece(op, blk::operation::read, header.offset, header.length))) break;
      submit(*op.first);
      return nullptr;
    case nbd_command::flush:
      op.left = 0;
      submit(take_piece(op, blk::operation::flush, 0, 0));
      return nullptr;
    case nbd_command::trim:
      op.left = 0;
      if (header.length == 0) break;
      submit(take_piece(op, blk::operation::discard, header.offset, header.length));
      return nullptr;
    case nbd_command::write_zeroes:
    case nbd_command::cache:
      begin_streams(op);
      if (op.outstanding > 0) return nullptr;
      break;
    case nbd_command::disc:
    case nbd_command::block_status:
      break;
  }
  conclude(op);
  return nullptr;
}

void dispatcher::begin_streams(operation& op) {
  // Held until all of them are on their way: an answer may come before the last one is.
  ++op.outstanding;
  for (unsigned i = 0; i < streams && op.left > 0 && op.error == nbd_error::none; ++i)
    stream(op, take_piece(op, blk::operation::write, 0, 0));
  --op.outstanding;
}

/// Sends the next stretch of a WRITE_ZEROES, of a CACHE or of a READ in chunks with `idle`.
void dispatcher::stream(operation& op, piece& idle) {
  const bool writes = op.header.type == nbd_command::write_zeroes;
  idle.op = writes ? blk::operation::write : blk::operation::read;
  idle.offset = op.at;
  // Zeros need no memory of their own.
  idle.length = writes ? piece_length(op, largest_piece) : std::min(op.left, piece_size_);
  op.at += idle.length;
  op.left -= idle.length;
  if (writes) {
    idle.memory = zeros();
  } else {
    drop_memory(idle);
    if (!give_memory(idle)) return;
  }
  submit(idle);
}

void dispatcher::open_write_piece(operation& op) {
  // A request that pages can carry as a whole is one piece, and keeps FUA by itself.
  const bool whole = op.at == op.header.offset && op.left <= piece_size_;
  auto& p = take_piece(op, blk::operation::write, op.at, piece_length(op, piece_size_));
  p.fua = whole && op.header.has_flag(wire::nbd_cmd_flag_fua);
  op.flushing = p.fua;
  op.at += p.length;
  op.left -= p.length;
  op.received = 0;
  op.receiving = give_memory(p) ? &p : nullptr;
}

void dispatcher::payload_space(const operation& op, std::vector<std::span<std::byte>>& out) const {
  const auto& p = *op.receiving;
  const auto add = [&](std::span<std::byte> stretch) {
    // Neighbouring pages are one stretch: fewer vectors for the socket.
    if (!out.empty() && out.back().data() + out.back().size() == stretch.data())
      out.back() = {out.back().data(), out.back().size() + stretch.size()};
    else
      out.push_back(stretch);
  };
  if (p.leased)
    p.leased->for_each_span(op.received, p.length - op.received, add);
  else
    add({p.heap.get() + op.received, static_cast<std::size_t>(p.length) - op.received});
}

payload_state dispatcher::payload_received(operation& op, std::size_t count) {
  auto& p = *op.receiving;
  op.received += static_cast<std::uint32_t>(count);
  if (op.received < p.length) return {.wants_more = true};
  op.receiving = nullptr;
  submit(p);
  const auto left = op.left;
  if (left == 0) return {};
  // An answer never comes from within submit(), so the next piece is in time to keep it going.
  open_write_piece(op);
  if (op.receiving != nullptr) return {.wants_more = true};
  op.left = 0;
  return {.unwanted = left};
}

void dispatcher::abandon_payload(operation& op) {
  op.receiving = nullptr;
  op.left = 0;
  op.error = nbd_error::eio;
  if (op.outstanding == 0) conclude(op);
}

void dispatcher::piece_done(blk::request& r) {
  auto& p = static_cast<piece&>(r);
  p.owner->answered(p);
}

void dispatcher::answered(piece& p) {
  auto& op = *p.of;
  if (op.in_chunks) return answered_chunk(p);
  // A discard is advice: a device that has lost the feature has taken it as well as it can.
  const bool is_advice =
      p.op == blk::operation::discard && p.status == std::errc::operation_not_supported;
  if (p.status && !is_advice && op.error == nbd_error::none) op.error = to_nbd_error(p.status);
  if (op.header.type == nbd_command::write) drop_memory(p);
  const bool has_rest =
      op.left > 0 && op.error == nbd_error::none && op.header.type != nbd_command::write;
  const bool streams_on = has_rest && !abandoned_;
  if (has_rest && abandoned_) op.error = nbd_error::eshutdown;
  --op.outstanding;
  if (streams_on) stream(op, p);
  if (op.outstanding == 0 && op.receiving == nullptr) conclude(op);
}

/// A chunk of a READ goes out as soon as it is there, whatever the order.
void dispatcher::answered_chunk(piece& p) {
  auto& op = *p.of;
  --op.outstanding;
  if (p.status && op.error == nbd_error::none) op.error = to_nbd_error(p.status);
  if (op.error != nbd_error::none) {
    drop_memory(p);
    if (op.outstanding == 0 && op.unsent == 0) conclude(op);
    return;
  }
  // "MUST NOT set the flag DONE on a content chunk if an error is still possible": none is when
  // all the others are here.
  op.ends_with_chunk = op.left == 0 && op.outstanding == 0;
  if (op.ends_with_chunk) statistics_.bytes_read += op.header.length;
  encode_offset_data(p.chunk_header, op.header.cookie, p.offset,
                     static_cast<std::uint32_t>(p.length), op.ends_with_chunk);
  p.chunk = {&op, &p, p.chunk_header, nullptr};
  ++op.unsent;
  sink_.reply_ready(p.chunk);
}

/// Its memory carries the next stretch.
void dispatcher::chunk_sent(piece& p) noexcept {
  auto& op = *p.of;
  --op.unsent;
  drop_memory(p);
  if (op.ends_with_chunk) {
    if (op.unsent == 0) recycle(op);
    return;
  }
  if (op.left > 0 && abandoned_ && op.error == nbd_error::none) op.error = nbd_error::eshutdown;
  if (op.left > 0 && op.error == nbd_error::none) stream(op, p);
  if (op.outstanding == 0 && op.unsent == 0) conclude(op);
}

void dispatcher::sent(reply_part& part) noexcept {
  if (&part == &part.of->last)
    recycle(*part.of);
  else
    chunk_sent(*part.data);
}

/// All pieces are answered: keeps FUA, then replies.
void dispatcher::conclude(operation& op) {
  const bool changes = op.header.type == nbd_command::write ||
                       op.header.type == nbd_command::trim ||
                       op.header.type == nbd_command::write_zeroes;
  const bool must_flush = changes && op.header.has_flag(wire::nbd_cmd_flag_fua) && !op.flushing &&
                          op.error == nbd_error::none;
  if (must_flush) {
    op.flushing = true;
    submit(take_piece(op, blk::operation::flush, 0, 0));
    return;
  }
  finish(op);
}

void dispatcher::refuse(operation& op, nbd_error error, std::string_view why) {
  op.error = error;
  op.left = 0;
  why_ = why;
  finish(op);
  why_ = {};
}

/// Writes the reply, or its last chunk, and hands it over.
void dispatcher::finish(operation& op) {
  const bool reads = op.header.type == nbd_command::read;
  const auto cookie = op.header.cookie;
  const auto whole = std::span(op.last_header);
  if (op.error != nbd_error::none) {
    ++statistics_.errors;
    if (terms_.structured)
      op.last.header = whole.first(encode_error(whole, cookie, op.error, why_));
    else
      simple(op, op.error);
  } else if (reads && op.header.length > 0) {
    statistics_.bytes_read += op.header.length;
    op.last.data = op.first;
    if (terms_.structured) {
      encode_offset_data(whole.first<data_chunk_size>(), cookie, op.header.offset,
                         op.header.length);
      op.last.header = whole.first<data_chunk_size>();
    } else {
      simple(op, nbd_error::none);
    }
  } else if (reads && terms_.structured) {
    encode_done(whole.first<done_chunk_size>(), cookie);
    op.last.header = whole.first<done_chunk_size>();
  } else {
    if (op.header.type == nbd_command::write) statistics_.bytes_written += op.header.length;
    simple(op, nbd_error::none);
  }
  sink_.reply_ready(op.last);
}

void dispatcher::simple(operation& op, nbd_error error) {
  const auto header = std::span(op.last_header).first<simple_reply_size>();
  encode_simple_reply(header, op.header.cookie, error);
  op.last.header = header;
}

void dispatcher::recycle(operation& op) noexcept {
  while (auto* const p = op.first) {
    op.first = p->next;
    drop_memory(*p);
    p->next = std::exchange(free_pieces_, p);
  }
  op.next = std::exchange(free_operations_, &op);
  --in_flight_;
}

}  // namespace xenpv::nbd
