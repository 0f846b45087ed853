// The completion handler of an operation in progress. Holds outstanding work on the handler's
// associated executor and completes on that executor. Used by the library's initiating functions.
#pragma once

#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/recycling_allocator.hpp>
#include <boost/system/error_code.hpp>
#include <utility>

#include "xenpv/async/asio.hpp"

namespace xenpv::async::detail {

/// A handler bound to its argument. Keeps the handler's associated allocator but hides the
/// associated executor, so that dispatch() does not query it again.
template <class Handler>
struct completed_handler {
  using allocator_type = asio::associated_allocator_t<Handler>;

  Handler handler;
  boost::system::error_code code;

  [[nodiscard]] allocator_type get_allocator() const noexcept {
    return asio::get_associated_allocator(handler);
  }
  void operator()() { std::move(handler)(code); }
};

template <class Handler, class Executor>
class pending_handler {
 public:
  using allocator_type = asio::associated_allocator_t<Handler, asio::recycling_allocator<void>>;
  using cancellation_slot_type = asio::associated_cancellation_slot_t<Handler>;

  /// Handlers without an associated executor complete on `executor`.
  pending_handler(Handler handler, const Executor& executor)
      : work_(asio::make_work_guard(handler, executor)), handler_(std::move(handler)) {}

  [[nodiscard]] allocator_type get_allocator() const noexcept {
    return asio::get_associated_allocator(handler_, asio::recycling_allocator<void>());
  }
  [[nodiscard]] cancellation_slot_type get_cancellation_slot() const noexcept {
    return asio::get_associated_cancellation_slot(handler_);
  }

  /// Dispatches the handler; calls it directly on a thread that runs the handler's executor. Call
  /// once.
  void operator()(boost::system::error_code code) {
    asio::dispatch(work_.get_executor(), completed_handler<Handler>{std::move(handler_), code});
  }

 private:
  asio::executor_work_guard<asio::associated_executor_t<Handler, Executor>> work_;
  Handler handler_;
};

}  // namespace xenpv::async::detail
