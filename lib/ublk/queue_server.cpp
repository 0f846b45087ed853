#include "ublk/queue_server.hpp"

#include <boost/asio/post.hpp>
#include <cerrno>
#include <new>
#include <utility>

#include "ublk/parameters.hpp"
#include "xenpv/base/types.hpp"

namespace xenpv::ublk {

queue_server::queue_server(blk::block_queue& device, std::unique_ptr<kernel_queue> kernel,
                           std::uint16_t depth, std::uint32_t largest,
                           std::function<void(const queue_server&)> changed)
    : device_(device),
      kernel_(std::move(kernel)),
      largest_(largest),
      changed_(std::move(changed)),
      slots_(depth) {
  // Nothing is allocated while requests are served, unless they need private memory.
  waiting_.reserve(depth);
  pieces_.reserve(largest / page_size + 2);
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    slots_[i].server = this;
    slots_[i].tag = static_cast<std::uint16_t>(i);
    slots_[i].done = &queue_server::request_done;
  }
  waiter_.server = this;
  waiter_.wake = [](blk::page_waiter& woken) {
    static_cast<waiter&>(woken).server->schedule_turn();
  };
  kernel_->listen(*this);
}

queue_server::~queue_server() = default;

void queue_server::start() {
  for (auto& s : slots_) {
    s.owner = tag_owner::kernel;
    ++live_tags_;
    kernel_->fetch(s.tag);
  }
  kernel_->submit();
}

void queue_server::completed(std::uint16_t tag, std::int32_t result) {
  in_batch_ = true;
  if (tag >= slots_.size() || slots_[tag].owner != tag_owner::kernel) {
    // The kernel does not own this tag.
    if (error_ == 0) error_ = EPROTO;
    return changed_(*this);
  }
  auto& s = slots_[tag];
  if (result == io_res_ok) return serve(s);
  if (result != io_res_abort && error_ == 0) error_ = result < 0 ? -result : EPROTO;
  end_tag(s);
}

void queue_server::batch_completed() {
  in_batch_ = false;
  turn();
}

void queue_server::end_tag(slot& s) {
  s.owner = tag_owner::ended;
  --live_tags_;
  if (live_tags_ == 0 || error_ != 0) changed_(*this);
}

void queue_server::serve(slot& s) {
  if (leaving_) {
    s.owner = tag_owner::held;
    return;
  }
  ++statistics_.requests;
  ++statistics_.in_service;
  // The device still has the previous request of this tag, which the kernel has seen fail.
  if (failing_ || s.is_busy) return complete(s, -EIO);
  s.operation = translate(kernel_->descriptor(s.tag), largest_);
  if (s.operation.refused != 0) return complete(s, s.operation.refused);
  // Queue behind waiting requests, so that a large request is not starved.
  auto found = memory_search::found;
  if (s.operation.has_data()) found = waiting_.empty() ? find_memory(s) : memory_search::must_wait;
  if (found == memory_search::failed) return complete(s, -EIO);
  if (found == memory_search::found) return send(s);
  ++statistics_.waited;
  s.owner = tag_owner::waiting;
  // If other requests wait, a wake-up is pending or will come. Registering again after a wake-up
  // would miss it.
  if (waiting_.empty()) wait_for_pages();
  waiting_.push_back(s.tag);
}

queue_server::memory_search queue_server::find_memory(slot& s) {
  const auto length = s.operation.length;
  if (device_.try_lease(s.leased, s.operation.offset, length)) return memory_search::found;
  if (fits(length, device_.pages()->size())) return memory_search::must_wait;
  s.copy.reset(new (std::nothrow) std::byte[static_cast<std::size_t>(length)]);
  if (!s.copy) return memory_search::failed;
  ++statistics_.copied;
  return memory_search::found;
}

std::span<const iovec> queue_server::memory_of(slot& s) {
  pieces_.clear();
  if (!s.leased) {
    pieces_.push_back({s.copy.get(), static_cast<std::size_t>(s.operation.length)});
    return pieces_;
  }
  s.leased.for_each_span(0, s.operation.length, [&](std::span<std::byte> piece) {
    const bool continues =
        !pieces_.empty() &&
        static_cast<std::byte*>(pieces_.back().iov_base) + pieces_.back().iov_len == piece.data();
    if (continues)
      pieces_.back().iov_len += piece.size();
    else
      pieces_.push_back({piece.data(), piece.size()});
  });
  return pieces_;
}

void queue_server::send(slot& s) {
  if (s.operation.op == blk::operation::write &&
      kernel_->copy_from_request(s.tag, memory_of(s)) != 0)
    return complete(s, -EIO);
  s.op = s.operation.op;
  s.fua = s.operation.fua;
  s.offset = s.operation.offset;
  s.length = s.operation.length;
  s.pages = s.leased ? &s.leased : nullptr;
  s.memory = s.leased || !s.operation.has_data() ? nullptr : s.copy.get();
  s.status = {};
  s.owner = tag_owner::device;
  s.is_busy = true;
  if (busy_++ == 0) self_ = shared_from_this();
  device_.submit(s);
}

void queue_server::request_done(blk::request& r) {
  auto& s = static_cast<slot&>(r);
  s.server->device_answered(s);
}

void queue_server::device_answered(slot& s) {
  s.is_busy = false;
  // Destroys this object at the end of the function if it has been closed.
  const auto alive = --busy_ == 0 ? std::exchange(self_, nullptr) : nullptr;
  if (closed_ || s.owner != tag_owner::device) return release(s);
  auto result = result_of(s.operation, s.status);
  if (result >= 0 && s.operation.op == blk::operation::read &&
      kernel_->copy_to_request(s.tag, memory_of(s)) != 0)
    result = -EIO;
  complete(s, result);
}

void queue_server::complete(slot& s, std::int32_t result) {
  if (!s.is_busy) release(s);
  s.owner = tag_owner::kernel;
  kernel_->commit(s.tag, result);
  has_commands_ = true;
  schedule_turn();
  if (--statistics_.in_service == 0 && leaving_) changed_(*this);
}

void queue_server::release(slot& s) {
  s.pages = nullptr;
  s.leased = {};
  s.copy.reset();
}

void queue_server::serve_waiting() {
  while (!waiting_.empty()) {
    auto& s = slots_[waiting_.front()];
    const auto found = find_memory(s);
    if (found == memory_search::must_wait) return wait_for_pages();
    waiting_.erase(waiting_.begin());
    if (found == memory_search::found)
      send(s);
    else
      complete(s, -EIO);
  }
}

void queue_server::wait_for_pages() {
  if (waiter_.waiting) return;
  waited_pool_ = device_.pages();
  waited_pool_->wait(waiter_);
}

void queue_server::stop_waiting() {
  if (waiter_.waiting) waited_pool_->stop_waiting(waiter_);
  waited_pool_.reset();
}

/// Batches the results of one iteration of the event loop.
void queue_server::schedule_turn() {
  if (scheduled_ || in_batch_ || closed_) return;
  scheduled_ = true;
  asio::post(device_.get_executor(), [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (!self) return;
    self->scheduled_ = false;
    self->turn();
  });
}

void queue_server::turn() {
  if (closed_) return;
  if (!waiter_.waiting) serve_waiting();
  device_.commit();
  if (std::exchange(has_commands_, false)) kernel_->submit();
}

void queue_server::leave() {
  leaving_ = true;
  stop_waiting();
  // These requests have not been sent to the device, so the next server can send them.
  for (const auto tag : waiting_) {
    slots_[tag].owner = tag_owner::held;
    --statistics_.in_service;
  }
  waiting_.clear();
  changed_(*this);
}

void queue_server::fail_all() {
  failing_ = true;
  if (closed_) return;
  stop_waiting();
  waiting_.clear();
  for (auto& s : slots_)
    if (s.owner == tag_owner::waiting || s.owner == tag_owner::device) complete(s, -EIO);
  turn();
}

void queue_server::close() {
  if (std::exchange(closed_, true)) return;
  stop_waiting();
  waiting_.clear();
  kernel_->close();
  for (auto& s : slots_)
    if (!s.is_busy) release(s);
  kernel_.reset();
}

}  // namespace xenpv::ublk
