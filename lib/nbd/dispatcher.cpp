#include "nbd/dispatcher.hpp"

#include <algorithm>
#include <array>
#include <new>
#include <utility>

namespace xenpv::nbd {
namespace {

using wire::nbd_command;
using wire::nbd_error;

/// A piece of a large WRITE: large enough for one indirect request of the usual size, small enough
/// that receiving the next one overlaps with it.
constexpr std::uint64_t piece_size = std::uint64_t{256} * 1024;

/// Pieces of zeros, or of a CACHE, that an operation has with the device at once.
constexpr unsigned streams = 4;

/// The one page, so to speak, that all WRITE_ZEROES send; never written to.
std::byte* zeros() {
  static std::array<std::byte, piece_size> shared{};
  return shared.data();
}

/// Pages that leases leave to the device itself: a client that reads no replies must not stop what
/// others send.
bool may_lease(const blk::page_pool& pool, std::uint64_t bytes) {
  const auto pages = bytes / page_size + 2;
  return pages <= pool.size() / 8 && pool.free() >= pool.size() / 2 + pages;
}

}  // namespace

dispatcher::dispatcher(blk::block_queue& queue, const export_info& on, session_terms terms,
                       reply_sink& sink, dispatcher_limits limits)
    : queue_(queue), export_(on), terms_(terms), sink_(sink), limits_(limits) {}

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
  op.reply_size = 0;
  op.has_data = false;
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
  p.leased.reset();
  if (p.heap == nullptr) return;
  heap_used_ -= std::exchange(p.heap_size, 0);
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
  // Not by an exception: the requests in flight have to be answered all the same.
  p.heap.reset(new (std::nothrow) std::byte[static_cast<std::size_t>(p.length)]);
  if (p.heap == nullptr) {
    p.of->error = nbd_error::enomem;
    return false;
  }
  p.heap_size = static_cast<std::size_t>(p.length);
  heap_used_ += p.heap_size;
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
      op.left = 0;
      if (header.length == 0) break;
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
      // Held until all of them are on their way: an answer may come before the last one is.
      ++op.outstanding;
      for (unsigned i = 0; i < streams && op.left > 0 && op.error == nbd_error::none; ++i)
        stream(op, take_piece(op, blk::operation::write, 0, 0));
      if (--op.outstanding > 0) return nullptr;
      break;
    case nbd_command::disc:
    case nbd_command::block_status:
      break;
  }
  conclude(op);
  return nullptr;
}

/// Sends the next stretch of a WRITE_ZEROES or CACHE with `idle`.
void dispatcher::stream(operation& op, piece& idle) {
  const bool writes = op.header.type == nbd_command::write_zeroes;
  idle.op = writes ? blk::operation::write : blk::operation::read;
  idle.offset = op.at;
  idle.length = std::min(op.left, piece_size);
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
  const bool whole = op.at == op.header.offset && op.left <= piece_size;
  auto& p = take_piece(op, blk::operation::write, op.at, std::min(op.left, piece_size));
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

/// Writes the reply and hands it over.
void dispatcher::finish(operation& op) {
  const bool reads = op.header.type == nbd_command::read;
  const auto cookie = op.header.cookie;
  if (op.error != nbd_error::none) {
    ++statistics_.errors;
    if (terms_.structured)
      op.reply_size = encode_error(op.reply, cookie, op.error, why_);
    else
      op.reply_size = simple(op, op.error);
  } else if (reads && op.header.length > 0) {
    statistics_.bytes_read += op.header.length;
    op.has_data = true;
    if (terms_.structured) {
      encode_offset_data(std::span(op.reply).first<data_chunk_size>(), cookie, op.header.offset,
                         op.header.length);
      op.reply_size = data_chunk_size;
    } else {
      op.reply_size = simple(op, nbd_error::none);
    }
  } else if (reads && terms_.structured) {
    encode_done(std::span(op.reply).first<done_chunk_size>(), cookie);
    op.reply_size = done_chunk_size;
  } else {
    if (op.header.type == nbd_command::write) statistics_.bytes_written += op.header.length;
    op.reply_size = simple(op, nbd_error::none);
  }
  sink_.reply_ready(op);
}

std::size_t dispatcher::simple(operation& op, nbd_error error) {
  encode_simple_reply(std::span(op.reply).first<simple_reply_size>(), op.header.cookie, error);
  return simple_reply_size;
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
