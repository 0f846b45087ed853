#include "async/nursery.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include <cstdio>
#include <utility>

#include "xenpv/async/shield.hpp"

namespace xenpv::async {
namespace {

bool is_abort(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const boost::system::system_error& e) {
    return e.code() == asio::error::operation_aborted;
  } catch (...) {
    return false;
  }
}

}  // namespace

nursery::nursery(asio::any_io_executor executor)
    : executor_(std::move(executor)), empty_(executor_) {}

nursery::~nursery() {
  if (children_.empty()) return;
  std::fprintf(stderr, "xenpv: a nursery was destroyed with %zu children alive; join it first\n",
               children_.size());
  std::terminate();
}

void nursery::spawn(asio::awaitable<void> body) {
  const auto entry = children_.insert(children_.end(), std::make_shared<child>());
  const auto done = [this, entry](std::exception_ptr error) { finish(entry, std::move(error)); };
  asio::co_spawn(executor_, shield_completion(run(*entry, std::move(body))),
                 asio::bind_cancellation_slot((*entry)->signal.slot(), done));
}

asio::awaitable<void> nursery::run(std::shared_ptr<child> self, asio::awaitable<void> body) {
  self->started = true;
  // Post the signal, so that it reaches the body at a suspension. If it were emitted before
  // co_spawn has started the coroutine, co_spawn would throw out of the context (since Asio 1.27).
  if (cancelling_)
    asio::post(executor_, [self] { self->signal.emit(asio::cancellation_type::terminal); });
  co_await std::move(body);
}

void nursery::cancel() {
  cancelling_ = true;
  // emit() does not remove children from the list: a later handler removes a finished child.
  for (const auto& entry : children_)
    if (entry->started) entry->signal.emit(asio::cancellation_type::terminal);
}

void nursery::finish(child_list::iterator entry, std::exception_ptr error) {
  children_.erase(entry);
  if (error && !(cancelling_ && is_abort(error))) {
    if (!first_error_) first_error_ = std::move(error);
    if (!cancelling_) cancel();
  }
  if (children_.empty()) empty_.notify();
}

asio::awaitable<void> nursery::join() {
  const auto cancellation = co_await asio::this_coro::cancellation_state;
  const bool throwing_before = co_await asio::this_coro::throw_if_cancelled();
  co_await asio::this_coro::throw_if_cancelled(false);
  bool passed_on = false;
  while (!children_.empty()) {
    if (!passed_on && cancellation.cancelled() != asio::cancellation_type::none) {
      passed_on = true;
      cancel();
    }
    co_await empty_.wait();
  }
  co_await asio::this_coro::throw_if_cancelled(throwing_before);
  cancelling_ = false;
  if (first_error_) std::rethrow_exception(std::exchange(first_error_, nullptr));
}

}  // namespace xenpv::async
