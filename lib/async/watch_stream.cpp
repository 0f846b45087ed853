#include "xenpv/async/watch_stream.hpp"

#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <utility>

#include "async/store_client_state.hpp"
#include "xenpv/async/run_on.hpp"

namespace xenpv::async {
namespace {

using subscription_ptr = std::shared_ptr<store_client_state::subscription>;

/// Called on the waiting coroutine's thread when the coroutine is cancelled.
struct withdraw_next {
  std::weak_ptr<store_client_state::subscription> watch;
  std::weak_ptr<next_request> request;
  void operator()(asio::cancellation_type type) const {
    constexpr auto supported = asio::cancellation_type::terminal |
                               asio::cancellation_type::partial | asio::cancellation_type::total;
    if ((type & supported) == asio::cancellation_type::none) return;
    const auto target = watch.lock();
    if (target == nullptr) return;
    asio::post(target->owner->control(), [target, pending = request] {
      if (const auto still = pending.lock()) target->owner->cancel_next(*target, still);
    });
  }
};

struct start_next {
  subscription_ptr watch;
  template <class Handler>
  void operator()(Handler&& handler) const {
    auto home = keep_running(asio::get_associated_executor(handler));
    auto request = std::make_shared<next_request>(std::forward<Handler>(handler), std::move(home));
    if (auto slot = request->handler.get_cancellation_slot(); slot.is_connected())
      slot.assign(withdraw_next{watch, request});
    asio::post(watch->owner->control(), [watch = watch, request = std::move(request)]() mutable {
      watch->owner->begin_next(*watch, std::move(request));
    });
  }
};

asio::awaitable<watch_event> next_of(subscription_ptr watch) {
  // Named: g++ 12 destroys an aggregate temporary of a co_await expression twice.
  start_next start{std::move(watch)};
  auto event = co_await asio::async_initiate<const asio::use_awaitable_t<>,
                                             void(std::exception_ptr, std::optional<watch_event>)>(
      std::move(start), asio::use_awaitable);
  co_return std::move(*event);
}

void end(subscription_ptr watch) {
  if (!watch) return;
  const auto control = watch->owner->control();
  asio::post(control, [watch = std::move(watch)] { watch->owner->stop_watch(*watch); });
}

}  // namespace

watch_stream::watch_stream(std::shared_ptr<subscription> watch) noexcept
    : watch_(std::move(watch)) {}

watch_stream::watch_stream(watch_stream&& other) noexcept = default;

watch_stream& watch_stream::operator=(watch_stream&& other) noexcept {
  if (this != &other) end(std::exchange(watch_, std::move(other.watch_)));
  return *this;
}

watch_stream::~watch_stream() {
  end(std::move(watch_));
}

const std::string& watch_stream::path() const noexcept {
  static const std::string none;
  return watch_ ? watch_->queue.path() : none;
}

watch_stream::executor_type watch_stream::get_executor() const noexcept {
  if (!watch_) return {};
  return watch_->owner->control();
}

asio::awaitable<watch_event> watch_stream::next() {
  return next_of(watch_);
}

}  // namespace xenpv::async
