// The interface between a block device and its users, such as an NBD endpoint or a program.
//
// A device has one or more queues. Each queue belongs to the thread of one CPU, and its functions
// must be called on that thread. Requests in flight are not ordered. A flush covers the writes that
// completed before it was submitted, on any queue.
#pragma once

#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/recycling_allocator.hpp>
#include <boost/system/error_code.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

#include "xenpv/async/asio.hpp"
#include "xenpv/async/pending_handler.hpp"
#include "xenpv/blk/page_pool.hpp"
#include "xenpv/blk/request.hpp"

namespace xenpv::blk {

class block_queue;

namespace detail {

[[nodiscard]] request make_request(operation op, std::uint64_t offset, std::uint64_t length,
                                   const std::byte* memory = nullptr) noexcept;

/// The operation behind block_queue::async_submit(): a copy of the request and the caller's
/// completion handler. Owns itself from submit() until its request completes.
template <class Handler>
class submit_operation final : public request {
 public:
  submit_operation(const request& r, request* original, Handler handler,
                   const asio::any_io_executor& executor)
      : request(r), original_(original), handler_(std::move(handler), executor) {
    done = &submit_operation::complete;
  }

  /// A template because block_queue is incomplete here.
  template <class Queue>
  static void start(Queue& queue, const request& r, request* original, Handler handler) {
    using associated = asio::associated_allocator_t<Handler, asio::recycling_allocator<void>>;
    using rebound =
        typename std::allocator_traits<associated>::template rebind_alloc<submit_operation>;
    const rebound allocator(
        asio::get_associated_allocator(handler, asio::recycling_allocator<void>()));
    auto self = std::allocate_shared<submit_operation>(allocator, r, original, std::move(handler),
                                                       queue.get_executor());
    auto& submitted = *self;
    queue.submit(submitted);
    // The request never completes within submit().
    submitted.self_ = std::move(self);
  }

 private:
  static void complete(request& r) {
    auto& self = static_cast<submit_operation&>(r);
    boost::system::error_code code;
    if (self.status) code = self.status;
    if (self.original_ != nullptr) {
      self.original_->status = self.status;
      self.original_->answered_ns = self.answered_ns;
    }
    // Frees the operation first, so that the handler can reuse its memory.
    auto handler = std::move(self.handler_);
    auto owner = std::move(self.self_);
    owner.reset();
    handler(code);
  }

  request* original_;  ///< receives the result; may be null
  async::detail::pending_handler<Handler, asio::any_io_executor> handler_;
  std::shared_ptr<submit_operation> self_;
};

/// The initiation of block_queue::async_submit() and of the functions based on it.
class initiate_submit {
 public:
  using executor_type = asio::any_io_executor;

  initiate_submit(block_queue& queue, const request& r, request* original = nullptr) noexcept
      : queue_(&queue), request_(r), original_(original) {}

  [[nodiscard]] executor_type get_executor() const noexcept;
  template <class Handler>
  void operator()(Handler&& handler) const {
    submit_operation<std::decay_t<Handler>>::start(*queue_, request_, original_,
                                                   std::forward<Handler>(handler));
  }

 private:
  block_queue* queue_;
  request request_;
  request* original_;
};

}  // namespace detail

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
  /// The same, into `out`, which must not have pages. Returns false while too few pages are free.
  [[nodiscard]] bool try_lease(lease& out, std::uint64_t offset, std::uint64_t length) const {
    return out.take(pages(), offset, length, shape().sector_size);
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
