// The interface between users of a block device (an NBD endpoint, a program) and its storage.
//
// A device has one or more queues. Each belongs to one CPU's thread; all its functions are called
// there. Requests in flight have no order. A flush covers the writes that completed before it was
// submitted, on any queue.
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

  /// This queue's current view. It changes with a resize, or when the backend withdraws a feature.
  [[nodiscard]] virtual const geometry& shape() const noexcept = 0;
  [[nodiscard]] virtual async::asio::any_io_executor executor() const = 0;

  /// Owns `r` until it calls r.done, which never happens within submit(). Any number of requests
  /// may be in flight. Requests submitted in one turn of the event loop are sent together, at the
  /// end of the turn or at commit().
  virtual void submit(request& r) = 0;
  /// Sends the batch now.
  virtual void commit() = 0;

  /// The pool of try_lease().
  [[nodiscard]] virtual const std::shared_ptr<page_pool>& pages() const noexcept = 0;
  /// Pages for `length` bytes at `offset`; nullopt while too few are free (page_pool::wait).
  [[nodiscard]] std::optional<lease> try_lease(std::uint64_t offset, std::uint64_t length) const {
    return lease::try_take(pages(), offset, length, shape().sector_size);
  }

  /// Coroutines, for the queue's own thread. They throw `failure` with the byte range and the
  /// reason. Not cancellable: the device owns the memory until the request completes.
  [[nodiscard]] async::asio::awaitable<void> read(std::uint64_t offset,
                                                  std::span<std::byte> buffer);
  [[nodiscard]] async::asio::awaitable<void> write(std::uint64_t offset,
                                                   std::span<const std::byte> data,
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
  /// From any thread; the queue itself may only be used on its own thread.
  [[nodiscard]] virtual block_queue& queue(std::size_t index) noexcept = 0;
};

/// Submits `r` and returns when it has completed; the caller checks r.status. For the queue's own
/// thread; overwrites r.done.
[[nodiscard]] async::asio::awaitable<void> run(block_queue& queue, request& r);

}  // namespace xenpv::blk
