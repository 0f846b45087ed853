// The operation behind block_queue::async_submit(): a copy of the request and the caller's
// completion handler.
#pragma once

#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/recycling_allocator.hpp>
#include <boost/system/error_code.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

#include "xenpv/async/asio.hpp"
#include "xenpv/async/pending_handler.hpp"
#include "xenpv/blk/request.hpp"

namespace xenpv::blk {

class block_queue;

namespace detail {

[[nodiscard]] request make_request(operation op, std::uint64_t offset, std::uint64_t length,
                                   const std::byte* memory = nullptr) noexcept;

/// Owns itself from submit() until its request completes.
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

}  // namespace xenpv::blk
