// The dispatcher's buffers: leased pages and heap memory, and the payloads received into them.
#include <algorithm>
#include <utility>

#include "nbd/dispatcher.hpp"

namespace xenpv::nbd {

using wire::nbd_error;

namespace {

/// Smaller buffers are cheap to allocate; larger ones all have the same size, so that they can be
/// reused.
constexpr std::uint64_t smallest_reused_buffer = std::uint64_t{64} << 10;

/// Maximum number of device requests in flight for the WRITEs of a connection that need several.
constexpr unsigned most_written_pieces = 16;

/// Whether a request for `bytes` bytes may lease pages. Leases leave some pages for the device
/// itself, so that a client that does not read its replies cannot block other clients.
bool may_lease(const blk::page_pool& pool, std::uint64_t bytes) {
  const auto pages = bytes / page_size + 2;
  return pages <= pool.size() / lease_share && pool.free() >= pool.size() / 4 + pages;
}

}  // namespace

std::uint64_t dispatcher::heap_size_for(std::uint64_t length) const noexcept {
  const bool is_reused = length <= device_request_size_ && length > smallest_reused_buffer;
  return is_reused ? device_request_size_ : length;
}

/// Returns the size of all buffers of a READ that needs several.
std::uint64_t dispatcher::heap_size_in_pieces(std::uint64_t length) const noexcept {
  const auto rest = length % device_request_size_;
  return length - rest + heap_size_for(rest);
}

bool dispatcher::take_heap(std::uint64_t bytes, bool may_wait) {
  const auto take = [&] {
    const bool exceeds_limit = account_.used() > 0 && account_.used() + bytes > limits_.heap;
    if (exceeds_limit) return false;
    return may_wait ? account_.take_or_wait(bytes) : account_.try_take(bytes);
  };
  if (take()) return true;
  // The device requests in flight free more of it when they complete.
  if (retired_ != nullptr && pieces_ > 0 && !account_.is_scarce()) return false;
  if (spare_.empty() && retired_ == nullptr) return false;
  release_spare();
  return take();
}

void dispatcher::give_back_heap(std::uint64_t bytes) noexcept {
  if (bytes > 0) account_.give_back(bytes);
}

/// Leases pages of the queue while enough are free, which avoids copies.
bool dispatcher::try_give_pages(device_request& child) noexcept {
  if (!may_lease(*queue_.pages(), child.length)) return false;
  if (!queue_.try_lease(child.leased, child.offset, child.length)) return false;
  child.pages = &child.leased;
  return true;
}

/// Allocates the request's buffer: pages if possible, otherwise heap memory. Uses up to `reserved`
/// bytes that were taken from the account earlier.
dispatcher::memory_result dispatcher::give_memory(device_request& child, std::uint64_t& reserved,
                                                  bool may_wait) {
  if (!try_give_pages(child)) return give_heap(child, reserved, may_wait);
  if (reserved > 0) {
    const auto unneeded = std::min(reserved, heap_size_for(child.length));
    reserved -= unneeded;
    give_back_heap(unneeded);
  }
  return memory_result::ok;
}

dispatcher::memory_result dispatcher::give_heap(device_request& child, std::uint64_t& reserved,
                                                bool may_wait) {
  // A request that reserved memory never takes more than that: it could wait for itself.
  const auto usual = heap_size_for(child.length);
  const auto size = reserved == 0 || reserved >= usual ? usual : child.length;
  const auto own = std::min(reserved, size);
  if (size == device_request_size_ && !spare_.empty()) {
    child.heap = std::move(spare_.back());
    spare_.pop_back();
    reserved -= own;
    give_back_heap(own);
  } else {
    if (own < size && !take_heap(size - own, may_wait)) return memory_result::unavailable;
    reserved -= own;
    // Must not throw: the requests in flight must still be answered.
    child.heap = data_buffer::allocate(static_cast<std::size_t>(size));
    if (child.heap.empty()) {
      give_back_heap(size);
      return memory_result::failed;
    }
  }
  ++statistics_.from_heap;
  child.memory = child.heap.get();
  return memory_result::ok;
}

void dispatcher::drop_heap(device_request& child) noexcept {
  const auto size = child.heap.size();
  const bool is_scarce = account_.is_scarce();
  if (is_scarce) release_spare();
  if (size == device_request_size_ && spare_.size() < most_spare && !is_scarce) {
    spare_.push_back(std::move(child.heap));
  } else {
    child.heap.reset();
    account_.give_back(size);
  }
  resume();
}

/// Recycles a device request, but frees its heap memory only later, unless others wait for it.
void dispatcher::retire(device_request& child) noexcept {
  if (child.heap.empty() || account_.is_scarce()) return recycle(child);
  child.next = std::exchange(retired_, &child);
}

void dispatcher::drop_retired(unsigned most) noexcept {
  for (; retired_ != nullptr && most > 0; --most) {
    auto& child = *std::exchange(retired_, retired_->next);
    recycle(child);
  }
}

void dispatcher::release_spare() noexcept {
  // The buffers of retired requests may become spare ones.
  drop_retired(~0U);
  const auto bytes = spare_.size() * device_request_size_;
  spare_.clear();
  give_back_heap(bytes);
}

void dispatcher::memory_granted() {
  const bool is_wanted = is_waiting_;
  resume();
  submit_pieces();
  // The request that waited may have found other memory, or have been refused.
  if (!is_wanted) account_.stop_waiting();
}

void dispatcher::open_write(client_request& request, device_request& child) {
  // If the whole write fits into one device request, that request carries FUA.
  const bool is_whole = child.length == request.header.length;
  request.is_split_write = !is_whole;
  child.fua = is_whole && request.header.has_flag(wire::nbd_cmd_flag_fua);
  request.flushing = child.fua;
  request.next_offset += child.length;
  request.left -= child.length;
  request.received = 0;
  request.receiving = &child;
}

payload_step dispatcher::next_payload(client_request& request) {
  if (request.receiving != nullptr) return payload_step::receive;
  if (written_pieces_ >= most_written_pieces) {
    is_waiting_ = true;
    return payload_step::wait;
  }
  const auto length = device_request_length(request.next_offset, request.left, piece_size());
  const bool is_ready = prepare_whole(blk::operation::write, request.next_offset, length);
  if (!is_ready) return payload_step::wait;
  if (std::exchange(prepare_failed_, false)) return payload_step::discard;
  open_write(request, *std::exchange(prepared_, nullptr));
  return payload_step::receive;
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
    child.leased.for_each_span(request.received, child.length - request.received, add);
  else
    add({child.heap.get() + request.received,
         static_cast<std::size_t>(child.length) - request.received});
}

payload_step dispatcher::payload_received(client_request& request, std::size_t count) {
  auto& child = *request.receiving;
  request.received += static_cast<std::uint32_t>(count);
  if (request.received < child.length) return payload_step::receive;
  request.receiving = nullptr;
  const bool is_last = request.left == 0;
  if (request.is_split_write) ++written_pieces_;
  // submit() never completes a request before it returns.
  submit(request, child);
  return is_last ? payload_step::done : next_payload(request);
}

void dispatcher::discard_payload(client_request& request) {
  request.left = 0;
  if (request.error == nbd_error::none) request.error = nbd_error::enomem;
  if (request.outstanding == 0) conclude(request);
}

void dispatcher::abandon_payload(client_request& request) {
  cancel_prepare();
  if (request.receiving != nullptr) recycle(*std::exchange(request.receiving, nullptr));
  request.left = 0;
  request.error = nbd_error::eio;
  if (request.outstanding == 0) conclude(request);
}

}  // namespace xenpv::nbd
