// Delivers the events of a batch to their listeners.
#include <fmt/format.h>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include <utility>

#include "async/event_batch.hpp"
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

/// Called when the wait is cancelled. Holds only a weak reference because the waiting coroutine
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

void set_waiter(const std::shared_ptr<port_entry>& entry, wait_handler handler) {
  entry->waiter.emplace(std::move(handler));
  ++entry->waits;
  if (auto slot = entry->waiter->get_cancellation_slot(); slot.is_connected())
    slot.assign(withdraw_wait{entry, entry->waits});
}

/// The initiation of bound_port::wait(), after begin_wait() has returned `pending`.
struct continue_wait {
  std::shared_ptr<port_entry> entry;
  asio::io_context::executor_type executor;
  template <class Handler>
  void operator()(Handler&& handler) const {
    set_waiter(entry, detail::make_wait_handler(std::forward<Handler>(handler), executor));
  }
};

[[noreturn]] void throw_death(const port_entry& entry) {
  const auto code = wait_error(entry);
  if (code == asio::error::operation_aborted) throw boost::system::system_error(code);
  throw failure(entry.death, fmt::format("wait for an event on port {}", entry.number));
}

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
  const event_batch batch;
  const dispatch_scope scope(*this);
  const auto generation = generation_;
  ++statistics_.wakes;
  ++batch_;
  for (const auto number : ports) {
    // A callback called close() or resumed(): the rest of the batch belongs to the old handle.
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
      --self->statistics_.events;  // counted when the event was kept
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

boost::system::error_code wait_error(const port_entry& entry) {
  if (entry.death == std::errc::operation_canceled) return asio::error::operation_aborted;
  return entry.death;
}

wait_start event_loop_state::begin_wait(port_entry& entry) {
  if (entry.death) return wait_start::dead;
  switch (entry.state.begin_wait()) {
    case listen_action::refuse:
      return wait_start::refused;
    case listen_action::deliver:
      return wait_start::ready;
    case listen_action::unmask:
      unmask(entry);
      break;
    case listen_action::listen:
      break;
  }
  return wait_start::pending;
}

asio::awaitable<void> event_loop_state::wait(std::shared_ptr<event_loop_state> self,
                                             std::shared_ptr<port_entry> entry) {
  switch (self->begin_wait(*entry)) {
    case wait_start::dead:
      throw_death(*entry);
    case wait_start::refused:
      throw busy(*entry);
    case wait_start::ready:
      co_return;
    case wait_start::pending:
      break;
  }
  constexpr auto token = asio::as_tuple(asio::use_awaitable);
  // Named: g++ 12 destroys an aggregate temporary of a co_await expression twice.
  continue_wait start{entry, self->get_executor()};
  const auto [code] =
      co_await asio::async_initiate<decltype(token), void(boost::system::error_code)>(
          std::move(start), token);
  if (!code) co_return;
  if (entry->death) throw_death(*entry);
  throw boost::system::system_error(code);
}

std::optional<boost::system::error_code> event_loop_state::immediate_result(port_entry& entry) {
  boost::system::error_code code;
  try {
    switch (begin_wait(entry)) {
      case wait_start::pending:
        return std::nullopt;
      case wait_start::ready:
        break;
      case wait_start::refused:
        code = make_error_code(errc::invalid_argument);
        break;
      case wait_start::dead:
        code = wait_error(entry);
        break;
    }
  } catch (const failure& e) {
    // The port could not be unmasked.
    entry.state.cancel_wait();
    code = e.code();
  }
  return code;
}

void event_loop_state::start_wait(const std::shared_ptr<port_entry>& entry, wait_handler handler) {
  if (const auto code = immediate_result(*entry))
    asio::post(context_, resume_waiter{std::move(handler), *code});
  else
    set_waiter(entry, std::move(handler));
}

void event_loop_state::cancel_wait(port_entry& entry, std::uint64_t wait) {
  if (wait != entry.waits || !entry.waiter) return;
  entry.state.cancel_wait();
  complete_wait(entry, asio::error::operation_aborted, completion::posted);
}

void event_loop_state::complete_wait(port_entry& entry, boost::system::error_code code,
                                     completion when) {
  if (!entry.waiter) return;
  resume_waiter resume{std::move(*entry.waiter), code};
  entry.waiter.reset();
  if (when == completion::now)
    resume();
  else
    asio::post(context_, std::move(resume));
}

}  // namespace xenpv::async
