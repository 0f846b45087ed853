#include "xenpv/async/event_loop.hpp"

#include <utility>

#include "async/event_loop_state.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::async {

event_loop::event_loop(asio::io_context& context, event_loop_options options)
    : state_(std::make_shared<event_loop_state>(context, std::move(options))) {
  state_->open();
}

event_loop::~event_loop() {
  try {
    close();
  } catch (const std::exception& e) {
    log().warn("{}", e.what());
  }
}

event_loop::executor_type event_loop::get_executor() const noexcept {
  return state_->get_executor();
}

bound_port event_loop::bind_unbound(domid remote) {
  return {state_, state_->bind(false, [=](xen::event_channel_handle& handle) {
            return handle.bind_unbound(remote);
          })};
}

bound_port event_loop::bind_interdomain(domid remote, port remote_port) {
  return {state_, state_->bind(true, [=](xen::event_channel_handle& handle) {
            return handle.bind_interdomain(remote, remote_port);
          })};
}

bound_port event_loop::bind_virq(std::uint32_t virq) {
  return {state_, state_->bind(false, [=](xen::event_channel_handle& handle) {
            return handle.bind_virq(virq);
          })};
}

void event_loop::resumed() {
  state_->resumed();
}

bool event_loop::suspend_pending() const noexcept {
  return state_->suspend_pending();
}

void event_loop::report_suspend() noexcept {
  state_->report_suspend();
}

void event_loop::close() {
  state_->close();
}

const event_loop_statistics& event_loop::statistics() const noexcept {
  return state_->statistics();
}

}  // namespace xenpv::async
