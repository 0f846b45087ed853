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

/// Size of each device request for a large client request: large enough for one indirect request of
/// the usual size, small enough that the device processes it while the socket transfers the next
/// one.
constexpr std::uint64_t largest_device_request = std::uint64_t{256} * 1024;
constexpr std::uint64_t smallest_device_request = std::uint64_t{32} * 1024;

/// Maximum number of device requests in flight for one WRITE_ZEROES or chunked READ.
constexpr unsigned streams = 4;

/// Maximum number of buffers kept for reuse.
constexpr std::size_t most_spare = 16;

/// A lease may use at most 1/lease_share of the pool.
constexpr std::size_t lease_share = 8;

/// Chooses a request size that fits into a lease, with an extra page for an unaligned start. If the
/// pool is too small for that, device requests use the heap anyway.
std::uint64_t device_request_size_for(const blk::page_pool& pool) {
  const auto pages = pool.size() / lease_share;
  const auto bytes = pages > 2 ? (pages - 2) * page_size : 0;
  if (bytes < smallest_device_request) return largest_device_request;
  return std::min(std::bit_floor(bytes), largest_device_request);
}

/// Returns the length of the next device request for a write, at most `most` bytes. All requests
/// but the last end at a page boundary, so that only the sectors at the two ends of an unaligned
/// write may need to be merged with existing data.
std::uint64_t device_request_length(const client_request& request, std::uint64_t most) {
  return request.left <= most ? request.left : most - request.next_offset % page_size;
}

/// The zeros that all WRITE_ZEROES requests share; never modified.
std::byte* zeros() {
  static std::array<std::byte, largest_device_request> shared{};
  return shared.data();
}

/// Whether a request for `bytes` bytes may lease pages. Leases leave some pages for the device
/// itself, so that a client that does not read its replies cannot block other clients.
bool may_lease(const blk::page_pool& pool, std::uint64_t bytes) {
  const auto pages = bytes / page_size + 2;
  return pages <= pool.size() / lease_share && pool.free() >= pool.size() / 4 + pages;
}

}  // namespace

dispatcher::dispatcher(blk::block_queue& queue, session_terms terms,
                       std::function<void()> replies_ready, dispatcher_limits limits)
    : queue_(queue),
      terms_(terms),
      replies_ready_(std::move(replies_ready)),
      limits_(limits),
      device_request_size_(device_request_size_for(*queue.pages())) {
  spare_.reserve(most_spare);
}

dispatcher::~dispatcher() = default;

client_request& dispatcher::take_client_request(const request_header& header) {
  if (free_client_requests_ == nullptr) {
    client_requests_.push_back(std::make_unique<client_request>());
    free_client_requests_ = client_requests_.back().get();
  }
  auto& request = *std::exchange(free_client_requests_, free_client_requests_->next);
  request.header = header;
  request.error = nbd_error::none;
  request.first = nullptr;
  request.outstanding = 0;
  request.left = header.length;
  request.next_offset = header.offset;
  request.receiving = nullptr;
  request.received = 0;
  request.flushing = false;
  request.in_chunks = false;
  request.unsent = 0;
  request.ends_with_chunk = false;
  request.last = {};
  request.last.parent = &request;
  request.next = nullptr;
  ++in_flight_;
  ++statistics_.requests;
  return request;
}

device_request& dispatcher::take_device_request(client_request& parent, blk::operation op,
                                                std::uint64_t offset, std::uint64_t length) {
  if (free_device_requests_ == nullptr) {
    device_requests_.push_back(std::make_unique<device_request>());
    free_device_requests_ = device_requests_.back().get();
    free_device_requests_->done = device_request_done;
  }
  auto& child = *std::exchange(free_device_requests_, free_device_requests_->next);
  child.parent = &parent;
  child.next = parent.first;
  parent.first = &child;
  child.op = op;
  child.fua = false;
  child.offset = offset;
  child.length = length;
  child.memory = nullptr;
  child.pages = nullptr;
  return child;
}

void dispatcher::drop_memory(device_request& child) noexcept {
  child.memory = nullptr;
  child.pages = nullptr;
  child.leased.reset();
  if (child.heap == nullptr) return;
  const auto size = std::exchange(child.heap_size, 0);
  heap_used_ -= size;
  if (size == device_request_size_ && spare_.size() < most_spare)
    spare_.push_back(std::move(child.heap));
  child.heap.reset();
}

/// Allocates the request's buffer: leases pages of the queue while enough are free, which avoids
/// copies, and otherwise uses the heap. Returns false if no memory is available; the client request
/// then fails with ENOMEM.
bool dispatcher::give_memory(device_request& child) {
  if (may_lease(*queue_.pages(), child.length)) {
    child.leased = queue_.try_lease(child.offset, child.length);
    if (child.leased) {
      child.pages = &*child.leased;
      return true;
    }
  }
  ++statistics_.from_heap;
  // Small buffers are cheap to allocate; larger ones all have the same size, so that they can be
  // reused.
  const bool is_usual =
      child.length <= device_request_size_ && child.length > smallest_device_request / 2;
  const auto size = static_cast<std::size_t>(is_usual ? device_request_size_ : child.length);
  if (is_usual && !spare_.empty()) {
    child.heap = std::move(spare_.back());
    spare_.pop_back();
  } else {
    // Must not throw: the requests in flight must still be answered.
    child.heap.reset(new (std::nothrow) std::byte[size]);
  }
  if (child.heap == nullptr) {
    child.parent->error = nbd_error::enomem;
    return false;
  }
  child.heap_size = size;
  heap_used_ += size;
  child.memory = child.heap.get();
  return true;
}

void dispatcher::submit(device_request& child) {
  ++child.parent->outstanding;
  child.owner = this;
  queue_.submit(child);
}

client_request* dispatcher::begin(const request_header& header, const verdict& checked) {
  auto& request = take_client_request(header);
  if (checked.error != nbd_error::none) {
    refuse(request, checked.error, checked.reason);
    return nullptr;
  }
  switch (header.type) {
    case nbd_command::write:
      if (header.length == 0) break;
      open_write(request);
      if (request.receiving != nullptr) return &request;
      break;
    case nbd_command::read:
      if (header.length == 0) break;
      // With DF, "the server MUST NOT split it"; without structured replies, a read has only one
      // reply.
      request.in_chunks = terms_.structured && header.length > device_request_size_ &&
                          !header.has_flag(wire::nbd_cmd_flag_df);
      if (request.in_chunks) {
        begin_streams(request);
        if (request.outstanding > 0) return nullptr;
        break;
      }
      request.left = 0;
      if (!give_memory(
              take_device_request(request, blk::operation::read, header.offset, header.length)))
        break;
      submit(*request.first);
      return nullptr;
    case nbd_command::flush:
      request.left = 0;
      submit(take_device_request(request, blk::operation::flush, 0, 0));
      return nullptr;
    case nbd_command::trim:
      request.left = 0;
      if (header.length == 0) break;
      submit(take_device_request(request, blk::operation::discard, header.offset, header.length));
      return nullptr;
    case nbd_command::write_zeroes:
      begin_streams(request);
      if (request.outstanding > 0) return nullptr;
      break;
    case nbd_command::cache:
    case nbd_command::disc:
    case nbd_command::block_status:
      break;
  }
  conclude(request);
  return nullptr;
}

void dispatcher::begin_streams(client_request& request) {
  // Prevents `request` from concluding before all its device requests are submitted: the first may
  // complete before the last is submitted.
  ++request.outstanding;
  for (unsigned i = 0; i < streams && request.left > 0 && request.error == nbd_error::none; ++i)
    stream(request, take_device_request(request, blk::operation::write, 0, 0));
  --request.outstanding;
}

/// Uses the device request `idle` to submit the next range of a WRITE_ZEROES or chunked READ.
void dispatcher::stream(client_request& request, device_request& idle) {
  const bool writes = request.header.type == nbd_command::write_zeroes;
  idle.op = writes ? blk::operation::write : blk::operation::read;
  idle.offset = request.next_offset;
  // Zeros come from a shared buffer, so a request for zeros can have the maximum size.
  idle.length = writes ? device_request_length(request, largest_device_request)
                       : std::min(request.left, device_request_size_);
  request.next_offset += idle.length;
  request.left -= idle.length;
  if (writes) {
    idle.memory = zeros();
  } else {
    drop_memory(idle);
    if (!give_memory(idle)) return;
  }
  submit(idle);
}

void dispatcher::open_write(client_request& request) {
  // If the whole write fits into one device request, that request carries FUA.
  const bool whole =
      request.next_offset == request.header.offset && request.left <= device_request_size_;
  auto& child = take_device_request(request, blk::operation::write, request.next_offset,
                                    device_request_length(request, device_request_size_));
  child.fua = whole && request.header.has_flag(wire::nbd_cmd_flag_fua);
  request.flushing = child.fua;
  request.next_offset += child.length;
  request.left -= child.length;
  request.received = 0;
  request.receiving = give_memory(child) ? &child : nullptr;
}

void dispatcher::payload_space(const client_request& request,
                               std::vector<std::span<std::byte>>& out) const {
  const auto& child = *request.receiving;
  const auto add = [&](std::span<std::byte> stretch) {
    // Merges adjacent pages, so that the socket receives into fewer vectors.
    if (!out.empty() && out.back().data() + out.back().size() == stretch.data())
      out.back() = {out.back().data(), out.back().size() + stretch.size()};
    else
      out.push_back(stretch);
  };
  if (child.leased)
    child.leased->for_each_span(request.received, child.length - request.received, add);
  else
    add({child.heap.get() + request.received,
         static_cast<std::size_t>(child.length) - request.received});
}

payload_state dispatcher::payload_received(client_request& request, std::size_t count) {
  auto& child = *request.receiving;
  request.received += static_cast<std::uint32_t>(count);
  if (request.received < child.length) return {.wants_more = true};
  request.receiving = nullptr;
  submit(child);
  const auto left = request.left;
  if (left == 0) return {};
  // submit() never completes a request before it returns, so `request` cannot conclude before its
  // next device request exists.
  open_write(request);
  if (request.receiving != nullptr) return {.wants_more = true};
  request.left = 0;
  return {.to_discard = left};
}

void dispatcher::abandon_payload(client_request& request) {
  request.receiving = nullptr;
  request.left = 0;
  request.error = nbd_error::eio;
  if (request.outstanding == 0) conclude(request);
}

void dispatcher::device_request_done(blk::request& completed) {
  auto& child = static_cast<device_request&>(completed);
  child.owner->answered(child);
}

void dispatcher::answered(device_request& child) {
  auto& request = *child.parent;
  if (request.in_chunks) return answered_chunk(child);
  // A discard is only advisory: the error of a device that no longer supports discard is ignored.
  const bool is_advice =
      child.op == blk::operation::discard && child.status == std::errc::operation_not_supported;
  if (child.status && !is_advice && request.error == nbd_error::none)
    request.error = to_nbd_error(child.status);
  if (request.header.type == nbd_command::write) drop_memory(child);
  const bool has_rest = request.left > 0 && request.error == nbd_error::none &&
                        request.header.type != nbd_command::write;
  const bool continues = has_rest && !abandoned_;
  if (has_rest && abandoned_) request.error = nbd_error::eshutdown;
  --request.outstanding;
  if (continues) stream(request, child);
  if (request.outstanding == 0 && request.receiving == nullptr) conclude(request);
}

/// Sends each chunk of a READ as soon as it is complete, in any order.
void dispatcher::answered_chunk(device_request& child) {
  auto& request = *child.parent;
  --request.outstanding;
  if (child.status && request.error == nbd_error::none) request.error = to_nbd_error(child.status);
  if (request.error != nbd_error::none) {
    drop_memory(child);
    if (request.outstanding == 0 && request.unsent == 0) conclude(request);
    return;
  }
  // "MUST NOT set the flag DONE on a content chunk if an error is still possible": errors are no
  // longer possible once all other device requests are complete.
  request.ends_with_chunk = request.left == 0 && request.outstanding == 0;
  if (request.ends_with_chunk) statistics_.bytes_read += request.header.length;
  encode_offset_data(child.chunk_header, request.header.cookie, child.offset,
                     static_cast<std::uint32_t>(child.length), request.ends_with_chunk);
  child.chunk = {&request, &child, child.chunk_header, nullptr};
  ++request.unsent;
  queue_reply(child.chunk);
}

/// Reuses the device request for the next range.
void dispatcher::chunk_sent(device_request& child) noexcept {
  auto& request = *child.parent;
  --request.unsent;
  drop_memory(child);
  if (request.ends_with_chunk) {
    if (request.unsent == 0) recycle(request);
    return;
  }
  if (request.left > 0 && abandoned_ && request.error == nbd_error::none)
    request.error = nbd_error::eshutdown;
  if (request.left > 0 && request.error == nbd_error::none) stream(request, child);
  if (request.outstanding == 0 && request.unsent == 0) conclude(request);
}

void dispatcher::sent(reply_part& part) noexcept {
  if (&part == &part.parent->last)
    recycle(*part.parent);
  else
    chunk_sent(*part.data);
}

/// Called when all device requests are complete: flushes if FUA requires it, then replies.
void dispatcher::conclude(client_request& request) {
  const bool must_flush = request.header.has_flag(wire::nbd_cmd_flag_fua) &&
                          rules_of(request.header.type).writes && !request.flushing &&
                          request.error == nbd_error::none;
  if (must_flush) {
    request.flushing = true;
    submit(take_device_request(request, blk::operation::flush, 0, 0));
    return;
  }
  finish(request);
}

void dispatcher::refuse(client_request& request, nbd_error error, std::string_view reason) {
  request.error = error;
  request.left = 0;
  refusal_reason_ = reason;
  finish(request);
  refusal_reason_ = {};
}

/// Encodes the reply, or its last chunk, and queues it.
void dispatcher::finish(client_request& request) {
  const bool reads = request.header.type == nbd_command::read;
  const auto cookie = request.header.cookie;
  const auto whole = std::span(request.last_header);
  if (request.error != nbd_error::none) {
    ++statistics_.errors;
    if (terms_.structured)
      request.last.header =
          whole.first(encode_error(whole, cookie, request.error, refusal_reason_));
    else
      encode_simple(request, request.error);
  } else if (reads && request.header.length > 0) {
    statistics_.bytes_read += request.header.length;
    request.last.data = request.first;
    if (terms_.structured) {
      encode_offset_data(whole.first<data_chunk_size>(), cookie, request.header.offset,
                         request.header.length);
      request.last.header = whole.first<data_chunk_size>();
    } else {
      encode_simple(request, nbd_error::none);
    }
  } else if (reads && terms_.structured) {
    encode_done(whole.first<done_chunk_size>(), cookie);
    request.last.header = whole.first<done_chunk_size>();
  } else {
    if (request.header.type == nbd_command::write)
      statistics_.bytes_written += request.header.length;
    encode_simple(request, nbd_error::none);
  }
  queue_reply(request.last);
}

void dispatcher::encode_simple(client_request& request, nbd_error error) {
  const auto header = std::span(request.last_header).first<simple_reply_size>();
  encode_simple_reply(header, request.header.cookie, error);
  request.last.header = header;
}

void dispatcher::queue_reply(reply_part& part) {
  part.next = nullptr;
  const bool is_first = first_reply_ == nullptr;
  (is_first ? first_reply_ : last_reply_->next) = &part;
  last_reply_ = &part;
  if (is_first) replies_ready_();
}

reply_part* dispatcher::take_reply() noexcept {
  auto* const part = first_reply_;
  if (part != nullptr) first_reply_ = std::exchange(part->next, nullptr);
  return part;
}

void dispatcher::recycle(client_request& request) noexcept {
  while (auto* const child = request.first) {
    request.first = child->next;
    drop_memory(*child);
    child->next = std::exchange(free_device_requests_, child);
  }
  request.next = std::exchange(free_client_requests_, &request);
  --in_flight_;
}

}  // namespace xenpv::nbd
