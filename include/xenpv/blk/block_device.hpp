// The interface between users of a block device (an NBD endpoint, a program) and its storage.
//
// A device has one or more queues. Each queue belongs to the thread of one CPU, and its functions
// must be called on that thread. Requests in flight are not ordered. A flush covers the writes that
// completed before it was submitted, on any queue.
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

  /// The geometry as this queue currently reports it. It changes after a resize, or when the
  /// backend withdraws a feature.
  [[nodiscard]] virtual const geometry& shape() const noexcept = 0;
  [[nodiscard]] virtual async::asio::any_io_executor executor() const = 0;

  /// Owns `r` until it calls r.done, which never happens within submit(). Any number of requests
  /// may be in flight. Requests submitted in one iteration of the event loop are sent together, at
  /// the end of the iteration or at commit().
  virtual void submit(request& r) = 0;
  /// Sends the submitted requests immediately.
  virtual void commit() = 0;

  /// The pool from which try_lease() takes pages.
  [[nodiscard]] virtual const std::shared_ptr<page_pool>& pages() const noexcept = 0;
  /// Leases pages for `length` bytes at `offset`. Returns nullopt while too few pages are free; use
  /// page_pool::wait() to wait for pages.
  [[nodiscard]] std::optional<lease> try_lease(std::uint64_t offset, std::uint64_t length) const {
    return lease::try_take(pages(), offset, length, shape().sector_size);
  }

  /// Coroutines; call them on the queue's own thread. They throw `failure` with the byte range and
  /// the reason. They cannot be cancelled: the device owns the memory until the request completes.
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
  /// At least one; never changes.
  [[nodiscard]] virtual std::size_t queue_count() const noexcept = 0;
  /// Can be called from any thread, but the queue may only be used on its own thread.
  [[nodiscard]] virtual block_queue& queue(std::size_t index) noexcept = 0;
};

/// Submits `r` and returns when it has completed; the caller checks r.status. Call on the queue's
/// own thread. Overwrites r.done.
[[nodiscard]] async::asio::awaitable<void> run(block_queue& queue, request& r);

}  // namespace xenpv::blk
