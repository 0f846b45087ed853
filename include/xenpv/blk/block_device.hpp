// The interface between a block device and its users, such as an NBD endpoint or a program.
//
// A device has one or more queues. Each queue belongs to the thread of one CPU, and its functions
// must be called on that thread. Requests in flight are not ordered. A flush covers the writes that
// completed before it was submitted, on any queue.
#pragma once

#include <boost/asio/async_result.hpp>
#include <boost/system/error_code.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "xenpv/async/asio.hpp"
#include "xenpv/blk/geometry.hpp"
#include "xenpv/blk/page_pool.hpp"
#include "xenpv/blk/request.hpp"
#include "xenpv/blk/submit_operation.hpp"

namespace xenpv::blk {

/// One queue of a block device. All functions must be called on the queue's own thread.
class block_queue {
 public:
  using executor_type = asio::any_io_executor;

  virtual ~block_queue() = default;

  /// The current geometry. Changes after a resize and when the backend withdraws a feature.
  [[nodiscard]] const geometry& shape() const noexcept { return shape_; }
  /// The executor of the queue's thread.
  [[nodiscard]] virtual executor_type get_executor() const = 0;

  /// Takes ownership of `r` until it calls r.done, which never happens within submit(). Any number
  /// of requests may be in flight. Requests submitted in one iteration of the event loop are sent
  /// together, at the end of the iteration or at commit().
  virtual void submit(request& r) = 0;
  /// Sends the submitted requests immediately.
  virtual void commit() = 0;

  /// The pool from which try_lease() takes pages.
  [[nodiscard]] const std::shared_ptr<page_pool>& pages() const noexcept { return pages_; }
  /// Leases pages for `length` bytes at `offset`. Returns nullopt while too few pages are free; use
  /// page_pool::wait() to wait for pages.
  [[nodiscard]] std::optional<lease> try_lease(std::uint64_t offset, std::uint64_t length) const {
    return lease::try_take(pages(), offset, length, shape().sector_size);
  }

  /// Coroutines; call them on the queue's own thread. They throw `failure` with the byte range and
  /// the reason. They cannot be cancelled: the device owns the memory until the request completes.
  /// @{
  [[nodiscard]] asio::awaitable<void> read(std::uint64_t offset, std::span<std::byte> buffer);
  [[nodiscard]] asio::awaitable<void> write(std::uint64_t offset, std::span<const std::byte> data,
                                            bool fua = false);
  [[nodiscard]] asio::awaitable<void> flush();
  [[nodiscard]] asio::awaitable<void> discard(std::uint64_t offset, std::uint64_t length,
                                              bool secure = false);
  /// @}

  /// Submits a copy of `r`. Completes with the resulting status, which is also stored in `r`
  /// together with `answered_ns`. Does not use r.done. `r` and its memory or lease must stay valid
  /// until the operation completes.
  ///
  /// Call on the queue's own thread. The handler is called on its associated executor, by default
  /// the queue's, never within async_submit(). The operation keeps the executor's context running.
  /// Memory comes from the handler's associated allocator. Errors: those of request::status; they
  /// compare equal to std::error_code values.
  ///
  /// Cancellation: not supported, because the device owns the memory until the request completes. A
  /// cancelled operation, such as the loser of a parallel_group, completes as usual.
  template <asio::completion_token_for<void(boost::system::error_code)> Token>
  auto async_submit(request& r, Token&& token) {
    return asio::async_initiate<Token, void(boost::system::error_code)>(
        detail::initiate_submit(*this, r, &r), token);
  }

  /// Read or write exactly the given bytes, flush, or discard: shorthand for async_submit() of the
  /// corresponding request. For FUA, leases and secure discard, use async_submit().
  /// @{
  template <asio::completion_token_for<void(boost::system::error_code)> Token>
  auto async_read(std::uint64_t offset, std::span<std::byte> buffer, Token&& token) {
    const auto r = detail::make_request(operation::read, offset, buffer.size(), buffer.data());
    return asio::async_initiate<Token, void(boost::system::error_code)>(
        detail::initiate_submit(*this, r), token);
  }
  template <asio::completion_token_for<void(boost::system::error_code)> Token>
  auto async_write(std::uint64_t offset, std::span<const std::byte> data, Token&& token) {
    const auto r = detail::make_request(operation::write, offset, data.size(), data.data());
    return asio::async_initiate<Token, void(boost::system::error_code)>(
        detail::initiate_submit(*this, r), token);
  }
  template <asio::completion_token_for<void(boost::system::error_code)> Token>
  auto async_flush(Token&& token) {
    const auto r = detail::make_request(operation::flush, 0, 0);
    return asio::async_initiate<Token, void(boost::system::error_code)>(
        detail::initiate_submit(*this, r), token);
  }
  template <asio::completion_token_for<void(boost::system::error_code)> Token>
  auto async_discard(std::uint64_t offset, std::uint64_t length, Token&& token) {
    const auto r = detail::make_request(operation::discard, offset, length);
    return asio::async_initiate<Token, void(boost::system::error_code)>(
        detail::initiate_submit(*this, r), token);
  }
  /// @}

 protected:
  // Data members instead of virtual functions because they are read for every request.
  geometry shape_;                    ///< kept up to date by the device
  std::shared_ptr<page_pool> pages_;  ///< set before the first request
};

class block_device {
 public:
  virtual ~block_device() = default;
  /// At least 1 and constant.
  [[nodiscard]] virtual std::size_t queue_count() const noexcept = 0;
  /// May be called from any thread, but the queue may only be used on its own thread.
  [[nodiscard]] virtual block_queue& queue(std::size_t index) noexcept = 0;
};

/// Submits a copy of `r` and returns when it has completed; the caller checks r.status. Call on the
/// queue's own thread. Does not use r.done. Cannot be cancelled.
[[nodiscard]] asio::awaitable<void> run(block_queue& queue, request& r);

}  // namespace xenpv::blk
