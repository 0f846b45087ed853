// Delivers the events of a batch to their listeners.
#include <fmt/format.h>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include <utility>

#include "async/event_loop_state.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::async {
namespace {

failure busy(const port_entry& entry) {
  return {make_error_code(errc::invalid_argument),
          fmt::format("listen for events on port {}", entry.number), "another listener is active"};
}

struct resume_waiter {
  wait_handler handler;
  boost::system::error_code code;
  void operator()() { std::move(handler)(code); }
};

/// Called on the loop's thread. Resumes a waiter of the loop's own context directly; posts any
/// other waiter to its executor.
struct finish_wait {
  asio::any_io_executor home;
  resume_waiter waiter;
  void operator()() { asio::dispatch(home, std::move(waiter)); }
};

/// Runs when the waiting coroutine is cancelled. Holds only a weak reference, because the coroutine
/// owns this object.
struct withdraw_wait {
  std::weak_ptr<port_entry> entry;
  std::uint64_t wait;
  void operator()(asio::cancellation_type type) const {
    constexpr auto supported = asio::cancellation_type::terminal |
                               asio::cancellation_type::partial | asio::cancellation_type::total;
    if ((type & supported) == asio::cancellation_type::none) return;
    const auto waiting = entry.lock();
    if (waiting == nullptr) return;
    if (const auto loop = waiting->loop.lock()) loop->cancel_wait(*waiting, wait);
  }
};

struct start_wait {
  std::shared_ptr<port_entry> entry;
  template <class Handler>
  void operator()(Handler&& handler) const {
    // Queried here, because a query of the type-erased handler would allocate.
    entry->home = asio::get_associated_executor(handler);
    entry->waiter.emplace(std::forward<Handler>(handler));
    ++entry->waits;
    if (auto slot = entry->waiter->get_cancellation_slot(); slot.is_connected())
      slot.assign(withdraw_wait{entry, entry->waits});
  }
};

}  // namespace

/// Marks that callbacks are running: objects that they retire stay alive until the outermost scope
/// ends.
class event_loop_state::dispatch_scope {
 public:
  explicit dispatch_scope(event_loop_state& loop) noexcept
      : loop_(loop), outermost_(!std::exchange(loop.dispatching_, true)) {}
  dispatch_scope(const dispatch_scope&) = delete;
  dispatch_scope& operator=(const dispatch_scope&) = delete;
  ~dispatch_scope() {
    if (!outermost_) return;
    loop_.dispatching_ = false;
    // The destructors may retire more objects, which are then destroyed immediately.
    auto retired = std::exchange(loop_.retired_, {});
  }

 private:
  event_loop_state& loop_;
  bool outermost_;
};

void event_loop_state::retire(std::shared_ptr<const void> object) {
  if (dispatching_) retired_.push_back(std::move(object));
}

void event_loop_state::dispatch(std::span<const std::uint32_t> ports) {
  const dispatch_scope scope(*this);
  const auto generation = generation_;
  ++statistics_.wakes;
  ++batch_;
  for (const auto number : ports) {
    // A callback closed or resumed the loop: the rest of the batch belongs to the old handle.
    if (generation != generation_) return;
    dispatch_one(port(number));
  }
}

void event_loop_state::dispatch_one(port number) {
  auto* entry = table_.find(number);
  // A port bound during this batch cannot have an event in it: the event belongs to an earlier port
  // with the same number.
  if (entry == nullptr || entry->born == batch_) {
    ++statistics_.spurious;
    return;
  }
  deliver(*entry);
}

void event_loop_state::deliver(port_entry& entry) {
  const auto action = entry.state.on_event();
  ++(action == event_action::unmask ? statistics_.swallowed : statistics_.events);
  try {
    switch (action) {
      case event_action::unmask:
        unmask(entry);
        break;
      case event_action::call:
        run_callback(entry);
        break;
      case event_action::wake:
        complete_wait(entry, {}, completion::now);
        break;
      case event_action::keep:
        break;
    }
  } catch (...) {
    if (!callback_error_) callback_error_ = std::current_exception();
  }
}

void event_loop_state::run_callback(port_entry& entry) {
  std::exception_ptr error;
  try {
    (*entry.callback)();
  } catch (...) {
    error = std::current_exception();
  }
  // A port that is still bound must be able to fire again, even after an exception.
  if (!entry.death) unmask(entry);
  if (error) std::rethrow_exception(error);
}

void event_loop_state::unmask(port_entry& entry) {
  entry.state.on_unmasked();
  handle_->unmask(entry.number);
  ++statistics_.unmasks;
}

void event_loop_state::on_event(const std::shared_ptr<port_entry>& entry,
                                std::function<void()> callback) {
  if (entry->death)
    throw failure(entry->death, fmt::format("listen for events on port {}", entry->number),
                  "the port is dead");
  const bool present = static_cast<bool>(callback);
  const auto action = entry->state.set_callback(present);
  if (action == listen_action::refuse) throw busy(*entry);
  retire(std::exchange(
      entry->callback,
      present ? std::make_shared<const std::function<void()>>(std::move(callback)) : nullptr));
  if (action == listen_action::unmask) unmask(*entry);
  if (action != listen_action::deliver) return;
  asio::post(context_, [self = shared_from_this(), waiting = std::weak_ptr(entry)] {
    const auto live = waiting.lock();
    if (live == nullptr || live->death) return;
    {
      const dispatch_scope scope(*self);
      --self->statistics_.events;  // already counted when it was kept
      self->deliver(*live);
    }
    if (self->callback_error_)
      std::rethrow_exception(std::exchange(self->callback_error_, nullptr));
  });
}

void event_loop_state::on_death(port_entry& entry, std::function<void(const error&)> callback) {
  if (entry.death)
    throw failure(entry.death, fmt::format("set a death callback for port {}", entry.number),
                  "the port is dead");
  retire(std::exchange(
      entry.on_death,
      callback ? std::make_shared<const std::function<void(const error&)>>(std::move(callback))
               : nullptr));
}

void event_loop_state::report_death(const std::vector<port_entry*>& dead) {
  const dispatch_scope scope(*this);
  std::vector<std::shared_ptr<const std::function<void(const error&)>>> callbacks;
  for (auto* entry : dead)
    if (entry->on_death) callbacks.push_back(std::move(entry->on_death));
  const auto reason = *read_error_;
  for (const auto& callback : callbacks) {
    try {
      (*callback)(reason);
    } catch (const std::exception& e) {
      log().error("{}: {}", action_name_, e.what());
    }
  }
}

asio::awaitable<void> event_loop_state::wait(std::shared_ptr<event_loop_state> self,
                                             std::shared_ptr<port_entry> entry) {
  const auto throw_if_dead = [&] {
    if (entry->death == errc::resumed || entry->death == errc::lost_connection)
      throw failure(entry->death, fmt::format("wait for an event on port {}", entry->number));
    if (entry->death) throw boost::system::system_error(asio::error::operation_aborted);
  };
  throw_if_dead();
  switch (entry->state.begin_wait()) {
    case listen_action::refuse:
      throw busy(*entry);
    case listen_action::deliver:
      co_return;
    case listen_action::unmask:
      self->unmask(*entry);
      break;
    case listen_action::listen:
      break;
  }
  constexpr auto token = asio::as_tuple(asio::use_awaitable);
  // Named, because g++ 12 destroys an aggregate temporary of a co_await expression twice.
  start_wait start{entry};
  const auto [code] =
      co_await asio::async_initiate<decltype(token), void(boost::system::error_code)>(
          std::move(start), token);
  if (!code) co_return;
  throw_if_dead();
  throw boost::system::system_error(code);
}

void event_loop_state::cancel_wait(port_entry& entry, std::uint64_t wait) {
  if (wait != entry.waits || !entry.waiter) return;
  entry.state.cancel_wait();
  complete_wait(entry, asio::error::operation_aborted, completion::posted);
}

void event_loop_state::complete_wait(port_entry& entry, boost::system::error_code code,
                                     completion when) {
  if (!entry.waiter) return;
  finish_wait finish{std::move(entry.home), {std::move(*entry.waiter), code}};
  entry.waiter.reset();
  if (when == completion::now)
    finish();
  else
    asio::post(context_, std::move(finish));
}

}  // namespace xenpv::async
