// The one interface between whoever wants blocks (an NBD endpoint, a program) and what stores them.
//
// A device is one or more queues, each owned by one CPU's thread: everything of a queue is called
// there. Order: none between requests in flight. A flush covers the writes that were answered
// before it was submitted, through whatever queue.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>

#include "xenpv/async/asio.hpp"
#include "xenpv/blk/geometry.hpp"
#include "xenpv/blk/page_pool.hpp"
#include "xenpv/blk/request.hpp"

namespace xenpv::blk {

class block_queue {
 public:
  virtual ~block_queue() = default;

  /// As this queue sees it now: it changes with a resize, or when the other side takes a feature
  /// back.
  [[nodiscard]] virtual const geometry& shape() const noexcept = 0;
  [[nodiscard]] virtual async::asio::any_io_executor executor() const = 0;

  /// Takes `r` until it calls r.done, never from within submit() itself. Any number at once. Those
  /// submitted in one turn of the event loop reach the other side together, at the turn's end or at
  /// commit().
  virtual void submit(request& r) = 0;
  /// Ends the batch now.
  virtual void commit() = 0;

  /// The pages that leases come from.
  [[nodiscard]] virtual const std::shared_ptr<page_pool>& pages() const noexcept = 0;
  /// Pages for `length` bytes at `offset`; nullopt while too few are free (page_pool::wait).
  [[nodiscard]] std::optional<lease> try_lease(std::uint64_t offset, std::uint64_t length) const {
    return lease::try_take(pages(), offset, length, shape().sector_size);
  }

  /// The coroutine forms, for the queue's own thread. Each throws `failure` that names the stretch
  /// and the reason. Not cancellable: the memory is the device's until the answer comes.
  [[nodiscard]] async::asio::awaitable<void> read(std::uint64_t offset, std::span<std::byte> into);
  [[nodiscard]] async::asio::awaitable<void> write(std::uint64_t offset,
                                                   std::span<const std::byte> from,
                                                   bool fua = false);
  [[nodiscard]] async::asio::awaitable<void> flush();
  [[nodiscard]] async::asio::awaitable<void> discard(std::uint64_t offset, std::uint64_t length,
                                                     bool secure = false);
};

class block_device {
 public:
  virtual ~block_device() = default;
  /// At least one; constant.
  [[nodiscard]] virtual std::size_t queue_count() const noexcept = 0;
  /// Any thread may ask; the queue itself is its own thread's.
  [[nodiscard]] virtual block_queue& queue(std::size_t index) noexcept = 0;
};

/// Submits `r` and returns when it is answered; the caller looks at r.status. For the queue's own
/// thread; overwrites r.done.
[[nodiscard]] async::asio::awaitable<void> run(block_queue& queue, request& r);

}  // namespace xenpv::blk
