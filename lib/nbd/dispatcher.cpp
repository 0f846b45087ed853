#include "nbd/dispatcher.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <new>
#include <utility>

namespace xenpv::nbd {

using wire::nbd_command;
using wire::nbd_error;

namespace {

/// Maximum number of device requests for all client requests of a connection that are split into
/// pieces, including chunks that are not sent yet.
constexpr unsigned most_pieces = 16;
/// The same for one WRITE_ZEROES, TRIM or chunked READ.
constexpr unsigned most_pieces_of_one = 4;

/// The largest discard that is sent in one device request, so that a client that discards a whole
/// disk does not occupy the device all that time.
constexpr std::uint64_t largest_discard = std::uint64_t{1} << 30;

/// The zeros that all WRITE_ZEROES requests share; never modified.
std::byte* zeros() {
  static std::array<std::byte, largest_device_request> shared{};
  return shared.data();
}

/// Chooses a request size that fits into a lease, with an extra page for an unaligned start. If the
/// pool is too small for that, device requests use the heap anyway.
std::uint64_t device_request_size_for(const blk::page_pool& pool) {
  const auto pages = pool.size() / lease_share;
  const auto bytes = pages > 2 ? (pages - 2) * page_size : 0;
  if (bytes < smallest_device_request) return largest_device_request;
  return std::min(std::bit_floor(bytes), largest_device_request);
}

/// Retired device requests whose memory is freed together.
constexpr unsigned most_dropped_at_once = 4;

bool is_answered_in_chunks(const request_header& header, session_terms terms) {
  // With DF, "the server MUST NOT split it"; without structured replies, a read has only one reply.
  return terms.structured && !header.has_flag(wire::nbd_cmd_flag_df);
}

unsigned most_pieces_for(const client_request& request) {
  const bool has_memory = request.header.type == nbd_command::read && !request.in_chunks;
  return has_memory ? most_pieces : most_pieces_of_one;
}

}  // namespace

std::uint64_t device_request_length(std::uint64_t offset, std::uint64_t left, std::uint64_t most) {
  return left <= most ? left : most - offset % page_size;
}

dispatcher::dispatcher(blk::block_queue& queue, session_terms terms,
                       std::function<void()> replies_ready, std::function<void()> resumed,
                       std::function<void()> granted, dispatcher_limits limits,
                       shared_resources shared, std::uint64_t first)
    : queue_(queue),
      terms_(terms),
      replies_ready_(std::move(replies_ready)),
      resumed_(std::move(resumed)),
      limits_(limits),
      first_(first),
      own_memory_(shared.memory ? nullptr : std::make_unique<memory_budget>(~std::uint64_t{0} / 2)),
      own_activity_(shared.scheduler ? nullptr : std::make_unique<activity_table>(1)),
      own_scheduler_(shared.scheduler
                         ? nullptr
                         : std::make_unique<device_scheduler>(queue, *own_activity_, 0)),
      scheduler_(shared.scheduler ? *shared.scheduler : *own_scheduler_),
      account_(shared.memory ? *shared.memory : *own_memory_, std::move(granted)),
      device_request_size_(device_request_size_for(*queue.pages())) {
  spare_.reserve(most_spare);
  scheduler_.add(flow_);
}

dispatcher::~dispatcher() {
  cancel_prepare();
  scheduler_.remove(flow_);
}

client_request& dispatcher::take_client_request(const request_header& header) noexcept {
  auto& request = *std::exchange(free_client_requests_, free_client_requests_->next);
  request.header = header;
  request.error = nbd_error::none;
  request.first = request.newest = nullptr;
  request.outstanding = 0;
  request.left = header.length;
  request.reserved = 0;
  request.next_offset = first_ + header.offset;
  request.receiving = nullptr;
  request.received = 0;
  request.flushing = false;
  request.in_chunks = false;
  request.in_pieces = false;
  request.is_listed = false;
  request.is_split_write = false;
  request.unsent = 0;
  request.ends_with_chunk = false;
  request.last = {};
  request.last.parent = &request;
  request.next = nullptr;
  ++in_flight_;
  ++statistics_.requests;
  return request;
}

/// Returns null if there is no memory.
device_request* dispatcher::try_take_device_request() noexcept {
  if (free_device_requests_ != nullptr) return &take_device_request();
  try {
    add_device_request();
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
  return &take_device_request();
}

void dispatcher::recycle(client_request& request) noexcept {
  while (auto* const child = request.first) {
    request.first = child->next;
    if (child->heap.empty())
      recycle(*child);
    else
      retire(*child);
  }
  if (retired_ != nullptr) drop_retired(most_dropped_at_once);
  if (request.reserved > 0) give_back_heap(std::exchange(request.reserved, 0));
  request.next = std::exchange(free_client_requests_, &request);
  --in_flight_;
  resume();
}

/// Allocates the memory for begin(), so that begin() cannot fail. Throws std::bad_alloc.
void dispatcher::reserve_requests() {
  if (free_client_requests_ == nullptr) {
    client_requests_.push_back(std::make_unique<client_request>());
    free_client_requests_ = client_requests_.back().get();
  }
  if (free_device_requests_ == nullptr) add_device_request();
}

void dispatcher::add_device_request() {
  device_requests_.push_back(std::make_unique<device_request>());
  free_device_requests_ = device_requests_.back().get();
  free_device_requests_->done = device_request_done;
  free_device_requests_->owner = this;
}

bool dispatcher::prepare(const request_header& header, const verdict& checked) {
  if (in_flight_ >= limits_.requests) {
    is_waiting_ = true;
    return false;
  }
  if (free_client_requests_ == nullptr || free_device_requests_ == nullptr) reserve_requests();
  const bool reads = header.type == nbd_command::read;
  const bool has_data = reads || header.type == nbd_command::write;
  if (has_data && header.length > 0 && checked.error == nbd_error::none) {
    const auto offset = first_ + header.offset;
    const auto most = piece_size();
    if (header.length <= most)
      return prepare_whole(reads ? blk::operation::read : blk::operation::write, offset,
                           header.length);
    if (!reads)
      return prepare_whole(blk::operation::write, offset,
                           device_request_length(offset, header.length, most));
    if (!is_answered_in_chunks(header, terms_)) return prepare_pieces(header.length);
  }
  // An earlier call for this request may have waited for memory that it no longer needs, because
  // the export or the size of the pieces has changed.
  cancel_prepare();
  return true;
}

/// Takes all the memory for a READ that is answered in one part: two such requests that each had
/// half of theirs would wait for each other.
bool dispatcher::prepare_pieces(std::uint64_t length) {
  if (prepared_ != nullptr) recycle(*std::exchange(prepared_, nullptr));
  const auto bytes = heap_size_in_pieces(length);
  is_waiting_ = !take_heap(bytes, true);
  if (!is_waiting_) prepared_heap_ = bytes;
  return !is_waiting_;
}

bool dispatcher::prepare_whole(blk::operation op, std::uint64_t offset, std::uint64_t length) {
  if (prepared_ == nullptr) prepared_ = try_take_device_request();
  prepare_failed_ = prepared_ == nullptr;
  if (prepare_failed_) return true;
  auto& child = *prepared_;
  child.op = op;
  child.offset = offset;
  child.length = length;
  is_waiting_ = false;
  if (try_give_pages(child)) return true;
  std::uint64_t reserved = 0;
  const auto result = give_heap(child, reserved, true);
  is_waiting_ = result == memory_result::unavailable;
  if (result == memory_result::failed) {
    prepare_failed_ = true;
    recycle(*std::exchange(prepared_, nullptr));
  }
  return !is_waiting_;
}

void dispatcher::cancel_prepare() noexcept {
  is_waiting_ = false;
  account_.stop_waiting();
  if (prepared_ != nullptr) recycle(*std::exchange(prepared_, nullptr));
  give_back_heap(std::exchange(prepared_heap_, 0));
}

void dispatcher::submit(client_request& request, device_request& child) {
  child.parent = &request;
  ++request.outstanding;
  scheduler_.submit(flow_, child);
}

client_request* dispatcher::begin(const request_header& header, const verdict& checked) {
  auto& request = take_client_request(header);
  if (prepared_ == nullptr) {
    begin_unprepared(request, checked);
    return nullptr;
  }
  auto& child = *std::exchange(prepared_, nullptr);
  if (header.type == nbd_command::write) {
    open_write(request, child);
    return &request;
  }
  request.first = request.newest = &child;
  request.left = 0;
  submit(request, child);
  return nullptr;
}

/// Begins a request that needs no device request of its own, or several.
void dispatcher::begin_unprepared(client_request& request, const verdict& checked) {
  if (checked.error != nbd_error::none) return refuse(request, checked.error, checked.reason);
  if (std::exchange(prepare_failed_, false)) {
    request.left = 0;
    request.error = nbd_error::enomem;
    return conclude(request);
  }
  const bool is_empty = request.header.length == 0;
  switch (request.header.type) {
    case nbd_command::read:
      if (is_empty) break;
      request.in_chunks = is_answered_in_chunks(request.header, terms_);
      request.reserved = std::exchange(prepared_heap_, 0);
      return begin_pieces(request);
    case nbd_command::flush: {
      request.left = 0;
      auto& child = take_device_request();
      child.op = blk::operation::flush;
      child.offset = child.length = 0;
      return submit(request, child);
    }
    case nbd_command::trim:
    case nbd_command::write_zeroes:
      if (is_empty) break;
      return begin_pieces(request);
    case nbd_command::write:
    case nbd_command::cache:
    case nbd_command::disc:
    case nbd_command::block_status:
      break;
  }
  conclude(request);
}

void dispatcher::begin_pieces(client_request& request) {
  request.in_pieces = true;
  list(request);
  submit_pieces();
}

void dispatcher::list(client_request& request) noexcept {
  request.is_listed = true;
  request.next = nullptr;
  (first_listed_ == nullptr ? first_listed_ : last_listed_->next) = &request;
  last_listed_ = &request;
}

/// Submits device requests of the listed client requests, in turn, until enough are in flight.
/// Skips requests that lack memory: the next ones may have reserved theirs, or need none.
void dispatcher::submit_pieces() {
  const client_request* first_skipped = nullptr;
  while (pieces_ < most_pieces && first_listed_ != nullptr) {
    auto& request = *first_listed_;
    if (&request == first_skipped) return;
    if (abandoned_ && request.error == nbd_error::none) request.error = nbd_error::eshutdown;
    if (request.error != nbd_error::none) request.left = 0;
    const bool lacks_memory = request.left > 0 && !submit_piece(request);
    first_listed_ = request.next;
    request.is_listed = false;
    if (lacks_memory) {
      if (first_skipped == nullptr) first_skipped = &request;
      list(request);
      continue;
    }
    first_skipped = nullptr;
    const bool may_continue = request.outstanding + request.unsent < most_pieces_for(request);
    if (request.left > 0 && may_continue)
      list(request);
    else
      conclude_if_complete(request);
  }
}

/// Submits the next range of a request. Returns false if it has to wait for memory. There is always
/// memory for the first piece of a connection, so there will be a call when a later one completes.
bool dispatcher::submit_piece(client_request& request) {
  const auto fail = [&] {
    request.error = nbd_error::enomem;
    request.left = 0;
    return true;
  };
  auto* const taken = try_take_device_request();
  if (taken == nullptr) return fail();
  auto& child = *taken;
  child.offset = request.next_offset;
  const auto type = request.header.type;
  if (type == nbd_command::write_zeroes) {
    // Zeros come from a shared buffer, so a request for zeros can have the maximum size.
    child.op = blk::operation::write;
    const auto most = has_light_neighbour() ? short_device_request : largest_device_request;
    child.length = device_request_length(request.next_offset, request.left, most);
    child.memory = zeros();
  } else if (type == nbd_command::trim) {
    child.op = blk::operation::discard;
    child.length = std::min(request.left, largest_discard);
  } else {
    child.op = blk::operation::read;
    child.length = std::min(request.left, piece_size());
    const auto result = give_memory(child, request.reserved, false);
    if (result != memory_result::ok) recycle(child);
    if (result == memory_result::unavailable) return false;
    if (result == memory_result::failed) return fail();
  }
  request.next_offset += child.length;
  request.left -= child.length;
  if (type == nbd_command::read && !request.in_chunks) {
    (request.first == nullptr ? request.first : request.newest->next) = &child;
    request.newest = &child;
  }
  ++pieces_;
  submit(request, child);
  return true;
}

void dispatcher::device_request_done(blk::request& completed) {
  auto& child = static_cast<device_request&>(completed);
  auto& owner = *child.owner;
  if (owner.retired_ != nullptr) owner.drop_retired(most_dropped_at_once);
  owner.scheduler_.finished(owner.flow_, child);
  auto& request = *child.parent;
  const bool is_whole_read = request.first == &child && !request.in_pieces;
  if (is_whole_read && !child.status) return owner.finish_read(request);
  owner.answered(child);
}

/// Called when the only device request of a READ has succeeded.
void dispatcher::finish_read(client_request& request) {
  request.outstanding = 0;
  finish(request);
  if (first_listed_ != nullptr) submit_pieces();
}

void dispatcher::answered(device_request& child) {
  auto& request = *child.parent;
  if (request.in_chunks) return answered_chunk(child);
  // A discard is only advisory: the error of a device that no longer supports discard is ignored.
  const bool is_advice =
      child.op == blk::operation::discard && child.status == std::errc::operation_not_supported;
  if (child.status && !is_advice && request.error == nbd_error::none)
    request.error = to_nbd_error(child.status);
  --request.outstanding;
  const bool is_piece = request.in_pieces && child.op != blk::operation::flush;
  if (request.is_split_write && child.op == blk::operation::write) {
    --written_pieces_;
    resume();
  }
  if (child.op != blk::operation::read) recycle(child);
  if (is_piece) {
    --pieces_;
    return piece_ended(request);
  }
  if (request.outstanding == 0 && request.receiving == nullptr && request.left == 0)
    conclude(request);
  if (first_listed_ != nullptr) submit_pieces();
}

/// Sends each chunk of a READ as soon as it is complete, in any order.
void dispatcher::answered_chunk(device_request& child) {
  auto& request = *child.parent;
  --request.outstanding;
  if (child.status && request.error == nbd_error::none) request.error = to_nbd_error(child.status);
  if (request.error != nbd_error::none) {
    recycle(child);
    --pieces_;
    return piece_ended(request);
  }
  // "MUST NOT set the flag DONE on a content chunk if an error is still possible": errors are no
  // longer possible once all other device requests are complete.
  request.ends_with_chunk = request.left == 0 && request.outstanding == 0;
  if (request.ends_with_chunk) statistics_.bytes_read += request.header.length;
  child.chunk = {&request, &child, encode_chunk(child, request.ends_with_chunk), nullptr};
  ++request.unsent;
  queue_reply(child.chunk);
}

void dispatcher::chunk_sent(device_request& child) noexcept {
  auto& request = *child.parent;
  --request.unsent;
  --pieces_;
  recycle(child);
  if (!request.ends_with_chunk) return piece_ended(request);
  if (request.unsent == 0) recycle(request);
  submit_pieces();
}

/// Called when a device request of a split client request is complete and, for a chunk, sent.
void dispatcher::piece_ended(client_request& request) {
  if (request.error != nbd_error::none) request.left = 0;
  if (!request.is_listed) {
    if (request.left > 0)
      list(request);
    else
      conclude_if_complete(request);
  }
  submit_pieces();
}

void dispatcher::sent(reply_part& part) noexcept {
  if (&part != &part.parent->last) return chunk_sent(*part.data);
  recycle(*part.parent);
  // Other requests may have been waiting for the memory of this reply.
  if (first_listed_ != nullptr) submit_pieces();
}

void dispatcher::conclude_if_complete(client_request& request) {
  if (request.left == 0 && request.outstanding == 0 && request.unsent == 0 && !request.is_listed)
    conclude(request);
}

/// Called when all device requests are complete: flushes if FUA requires it, then replies.
void dispatcher::conclude(client_request& request) {
  const bool must_flush = request.header.has_flag(wire::nbd_cmd_flag_fua) &&
                          rules_of(request.header.type).writes && !request.flushing &&
                          request.error == nbd_error::none;
  if (!must_flush) return finish(request);
  request.flushing = true;
  // The device request that has just been completed is free again.
  auto& child = take_device_request();
  child.op = blk::operation::flush;
  child.offset = child.length = 0;
  submit(request, child);
}

}  // namespace xenpv::nbd
