// The implementation of event_loop, shared with its ports and the read in flight. Single-threaded.
//
// Event delivery: the reactor reads a batch of ports, dispatch() passes each port to its entry, and
// the entry's port_state selects the action. The next read starts when the whole batch has been
// handled.
#pragma once

#include <array>
#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "async/handler_memory.hpp"
#include "async/port_state.hpp"
#include "async/port_table.hpp"
#include "xenpv/async/event_loop.hpp"
#include "xenpv/xen/custodian.hpp"
#include "xenpv/xen/event_channel.hpp"
#include "xenpv/xen/suspend_clock.hpp"

namespace xenpv::async {

using detail::wait_handler;

/// The loop's state for one bound_port. Owned by the port and its pending wait; listed in the
/// loop's table until the port is unbound or dies.
struct port_entry {
  port_entry(port local, bool swallow_first) : number(local), state(swallow_first) {}

  port number;
  port_state state;
  std::error_code death;           ///< why the port is dead; unset while it is live
  std::uint64_t born = 0;          ///< the batch during which the port was bound
  xen::suspend_reading suspended;  ///< read from the suspend clock just before the bind
  std::shared_ptr<const std::function<void()>> callback;
  std::shared_ptr<const std::function<void(const error&)>> on_death;
  std::optional<wait_handler> waiter;  ///< only emplace or reset: not assignable in Boost 1.81
  std::uint64_t waits = 0;             ///< identifies the current wait; detects stale cancellations
  std::weak_ptr<class event_loop_state> loop;
  irq_placement irq;
};

/// The outcome of begin_wait().
enum class wait_start : std::uint8_t {
  pending,  ///< no event yet: a waiter must be set
  ready,    ///< an event has already arrived; the wait is complete
  refused,  ///< another listener is active
  dead,     ///< the port is dead: see wait_error()
};

/// Returns the error with which a wait on a dead port fails.
[[nodiscard]] boost::system::error_code wait_error(const port_entry& entry);

class event_loop_state : public std::enable_shared_from_this<event_loop_state> {
 public:
  event_loop_state(asio::io_context& context, event_loop_options options);

  void open();
  void resumed();
  void close();

  /// `kernel_bind` performs the bind and returns the port's number.
  [[nodiscard]] std::shared_ptr<port_entry> bind(
      bool swallow_first, const std::function<port(xen::event_channel_handle&)>& kernel_bind);
  void unbind(const std::shared_ptr<port_entry>& entry) noexcept;

  void notify(const port_entry& entry);
  void on_event(const std::shared_ptr<port_entry>& entry, std::function<void()> callback);
  void on_death(port_entry& entry, std::function<void(const error&)> callback);
  [[nodiscard]] static asio::awaitable<void> wait(std::shared_ptr<event_loop_state> self,
                                                  std::shared_ptr<port_entry> entry);
  /// Calls `handler` on completion, but never from within this function.
  void start_wait(const std::shared_ptr<port_entry>& entry, wait_handler handler);
  void cancel_wait(port_entry& entry, std::uint64_t wait);

  [[nodiscard]] asio::io_context::executor_type get_executor() const noexcept {
    return context_.get_executor();
  }
  [[nodiscard]] const event_loop_options& options() const noexcept { return options_; }
  [[nodiscard]] const event_loop_statistics& statistics() const noexcept { return statistics_; }
  /// True while a suspend is unacknowledged: the guest may have been resumed elsewhere.
  [[nodiscard]] bool suspend_pending() const noexcept;
  void report_suspend() noexcept;

 private:
  struct read_handler;
  class dispatch_scope;
  enum class completion { now, posted };

  [[nodiscard]] xen::event_channel_handle& handle();
  /// True if the port was bound after a resume, but through a handle opened before that resume. The
  /// port number is then still valid.
  [[nodiscard]] bool is_bound_after_resume(const port_entry& entry) const noexcept;
  /// Permanently transfers ownership of the handle to the custodian.
  void give_up_handle();
  void unbind_number(port number) noexcept;
  /// Leaves the port bound until the handle is closed, if ever.
  void leave(port number) noexcept;
  void start_read();
  void on_read(std::uint64_t generation, boost::system::error_code code, std::size_t bytes);
  /// Called if reading the device fails: kills all ports and calls their on_death callbacks.
  [[noreturn]] void fail(boost::system::error_code code);
  void report_death(const std::vector<port_entry*>& dead);
  void dispatch(std::span<const std::uint32_t> ports);
  void dispatch_one(port number);
  void deliver(port_entry& entry);
  void run_callback(port_entry& entry);
  void unmask(port_entry& entry);
  [[nodiscard]] wait_start begin_wait(port_entry& entry);
  /// Calls begin_wait(). Returns the result of the wait, or nullopt if a waiter must be set.
  [[nodiscard]] std::optional<boost::system::error_code> immediate_result(port_entry& entry);
  void complete_wait(port_entry& entry, boost::system::error_code code, completion when);
  [[nodiscard]] std::vector<port_entry*> kill_ports(std::error_code death);
  void retire(std::shared_ptr<const void> object);

  // 64 ports of 4 bytes each: the driver's minimum ring size. A larger batch would only delay other
  // handlers.
  static constexpr std::size_t batch_size = 64;

  asio::io_context& context_;
  event_loop_options options_;
  std::string action_name_;  ///< action name of the handle's IRQs: "evtchn:xev-cpu3"
  std::optional<xen::event_channel_handle> handle_;
  bool is_reopening_ = false;  ///< resumed() gave up the handle but has not opened a new one
  std::optional<xen::custodian::kept_id> kept_;
  // Owns a duplicate descriptor: Asio closes the duplicate, whereas the library must close the
  // original.
  asio::posix::basic_stream_descriptor<asio::io_context::executor_type> stream_;
  std::optional<error> read_error_;  ///< set after a failed read of the current handle
  port_table<port_entry> table_;
  std::array<std::uint32_t, batch_size> ports_{};
  handler_memory read_memory_;
  std::uint64_t generation_ = 0;  ///< number of the handle; reads of earlier ones are ignored
  std::uint64_t batch_ = 0;
  bool dispatching_ = false;
  std::vector<std::shared_ptr<const void>> retired_;  ///< kept alive during the current batch
  std::exception_ptr callback_error_;
  event_loop_statistics statistics_;
};

}  // namespace xenpv::async
