#include "async/event_loop_state.hpp"

#include <pthread.h>

#include <fmt/format.h>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>

#include <utility>

#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"
#include "xenpv/base/unique_fd.hpp"
#include "xenpv/xen/suspend_clock.hpp"

namespace xenpv::async {
namespace {

std::string this_thread_name() {
  std::array<char, 16> name{};
  ::pthread_getname_np(::pthread_self(), name.data(), name.size());
  return name.data();
}

}  // namespace

// Uses async_read_some instead of async_wait. Asio's epoll is edge-triggered, so both need one more
// system call per wake-up than a plain poll loop to check for further ports: an empty read, or an
// epoll_ctl(MOD), which cost a fifth more in measurements. Under load, the additional read returns
// the next batch and saves the poll, whereas async_wait would repeat all of its system calls.
struct event_loop_state::read_handler {
  std::shared_ptr<event_loop_state> loop;
  std::uint64_t generation;

  using allocator_type = handler_allocator<void>;
  [[nodiscard]] allocator_type get_allocator() const noexcept {
    return allocator_type(loop->read_memory_);
  }
  void operator()(boost::system::error_code code, std::size_t bytes) const {
    loop->on_read(generation, code, bytes);
  }
};

event_loop_state::event_loop_state(asio::io_context& context, event_loop_options options)
    : context_(context),
      options_(std::move(options)),
      action_name_("evtchn:" + this_thread_name()),
      stream_(context) {}

void event_loop_state::open() {
  auto fresh = xen::event_channel_handle::open();
  fresh.set_nonblocking();
  // Pass a duplicate to the custodian before the first bind, so that no close in this process can
  // unbind ports after a resume.
  if (options_.custodian != nullptr) kept_ = options_.custodian->keep(fresh.descriptor());
  auto duplicate = unique_fd::duplicate(fresh.descriptor());
  stream_.assign(duplicate.get());
  static_cast<void>(duplicate.release());
  handle_.emplace(std::move(fresh));
  read_error_.reset();
  start_read();
}

void event_loop_state::resumed() {
  // If an earlier call could not reopen the device, there is no handle, and this call retries.
  if (!is_reopening_) static_cast<void>(handle());
  ++generation_;
  ++statistics_.resumes;
  if (options_.custodian == nullptr)
    log().warn(
        "{}: no custodian holds the handle opened before the resume: expect a kernel "
        "BUG when this process exits",
        action_name_);
  for (const auto* entry : kill_ports(make_error_code(errc::resumed)))
    if (is_bound_after_resume(*entry)) unbind_number(entry->number);
  if (handle_) give_up_handle();
  is_reopening_ = true;
  open();
  is_reopening_ = false;
}

bool event_loop_state::is_bound_after_resume(const port_entry& entry) const noexcept {
  // Only the suspend clock shows on which side of the resume the port was bound.
  return suspend_pending() && !options_.suspends->has_moved_since(entry.suspended);
}

void event_loop_state::give_up_handle() {
  boost::system::error_code ignored;
  stream_.close(ignored);
  handle_->leak();
  handle_.reset();
  kept_.reset();
}

bool event_loop_state::suspend_pending() const noexcept {
  return options_.suspends != nullptr && options_.suspends->has_moved();
}

void event_loop_state::close() {
  if (!handle_) return;
  ++generation_;
  const auto bound = kill_ports(std::make_error_code(std::errc::operation_canceled));
  if (suspend_pending()) {
    log().warn("{}: the guest was just suspended: leaving the event-channel handle open",
               action_name_);
    give_up_handle();
    if (options_.custodian != nullptr) options_.custodian->resumed();
    return;
  }
  for (const auto* entry : bound)
    unbind_number(entry->number);
  boost::system::error_code ignored;
  stream_.close(ignored);
  handle_.reset();
  if (const auto kept = std::exchange(kept_, std::nullopt)) options_.custodian->release(*kept);
}

xen::event_channel_handle& event_loop_state::handle() {
  if (!handle_)
    throw failure(std::make_error_code(std::errc::operation_canceled),
                  fmt::format("use the event loop {}", action_name_), "it was closed");
  return *handle_;
}

std::shared_ptr<port_entry> event_loop_state::bind(
    bool swallow_first, const std::function<port(xen::event_channel_handle&)>& kernel_bind) {
  auto& device = handle();
  // A new port would never receive events.
  if (read_error_)
    throw failure(read_error_->code, fmt::format("bind a port of {}", action_name_),
                  read_error_->text);
  std::vector<unsigned> irqs_before;
  if (options_.irq_cpu) irqs_before = find_irqs(options_.root, action_name_);
  const auto suspended =
      options_.suspends == nullptr ? xen::suspend_reading{} : options_.suspends->reading();
  const auto number = kernel_bind(device);
  auto entry = std::make_shared<port_entry>(number, swallow_first);
  entry->suspended = suspended;
  entry->born = batch_;
  entry->loop = weak_from_this();
  if (!table_.insert(number, *entry)) {
    // Do not unbind the port: a number that is already in use indicates an undetected resume, and
    // unbinding would trigger a kernel BUG.
    throw failure(errc::protocol_violation, fmt::format("bind port {}", number),
                  "the number is out of range or already in use");
  }
  if (options_.irq_cpu)
    entry->irq = place_new_irq(options_.root, irqs_before, find_irqs(options_.root, action_name_),
                               action_name_, *options_.irq_cpu);
  else
    entry->irq.reason = "no CPU was requested";
  return entry;
}

void event_loop_state::unbind(const std::shared_ptr<port_entry>& entry) noexcept {
  if (!entry->death) {
    table_.erase(entry->number);
    entry->death = std::make_error_code(std::errc::operation_canceled);
    if (suspend_pending() && !is_bound_after_resume(*entry))
      leave(entry->number);
    else
      unbind_number(entry->number);
    complete_wait(*entry, asio::error::operation_aborted, completion::posted);
  }
  retire(entry);
}

void event_loop_state::unbind_number(port number) noexcept {
  try {
    handle_->unbind(number);
  } catch (const failure& e) {
    log().warn("{}", e.what());
  }
}

void event_loop_state::leave(port number) noexcept {
  ++statistics_.left;
  log().debug("{}: leaving port {} bound: the guest was just suspended", action_name_, number);
  report_suspend();
}

void event_loop_state::report_suspend() noexcept {
  if (!options_.on_suspend) return;
  try {
    options_.on_suspend();
  } catch (const std::exception& e) {
    log().warn("{}", e.what());
  }
}

void event_loop_state::notify(const port_entry& entry) {
  if (entry.death)
    throw failure(entry.death, fmt::format("notify port {}", entry.number), "the port is dead");
  handle_->notify(entry.number);
  ++statistics_.notifies;
}

std::vector<port_entry*> event_loop_state::kill_ports(std::error_code death) {
  auto dead = table_.take_all();
  for (auto* entry : dead) {
    entry->death = death;
    complete_wait(*entry, wait_error(*entry), completion::posted);
  }
  return dead;
}

void event_loop_state::start_read() {
  stream_.async_read_some(asio::buffer(ports_), read_handler{shared_from_this(), generation_});
}

void event_loop_state::on_read(std::uint64_t generation, boost::system::error_code code,
                               std::size_t bytes) {
  if (generation != generation_) return;
  if (code) fail(code);
  dispatch(std::span(ports_).first(bytes / sizeof(std::uint32_t)));
  // Handle one batch, then let the context run other handlers, so that a flood of events cannot
  // starve them.
  if (generation == generation_) start_read();
  if (callback_error_) std::rethrow_exception(std::exchange(callback_error_, nullptr));
}

void event_loop_state::fail(boost::system::error_code code) {
  const failure problem(
      code == asio::error::eof ? make_error_code(errc::lost_connection) : std::error_code(code),
      fmt::format("read pending ports of {}", action_name_));
  read_error_ = error{problem.code(), problem.what()};
  report_death(kill_ports(make_error_code(errc::lost_connection)));
  throw problem;
}

}  // namespace xenpv::async
