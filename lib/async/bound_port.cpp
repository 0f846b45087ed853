#include "xenpv/async/bound_port.hpp"

#include <fmt/format.h>

#include <utility>

#include "async/event_loop_state.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::async {
namespace detail {

initiate_wait::initiate_wait(std::shared_ptr<event_loop_state> loop,
                             std::shared_ptr<port_entry> entry) noexcept
    : loop_(std::move(loop)), entry_(std::move(entry)) {}

initiate_wait::executor_type initiate_wait::get_executor() const noexcept {
  return loop_->get_executor();
}

void initiate_wait::start(wait_handler handler) const {
  loop_->start_wait(entry_, std::move(handler));
}

}  // namespace detail

bound_port::bound_port() noexcept = default;

bound_port::bound_port(std::shared_ptr<event_loop_state> loop,
                       std::shared_ptr<port_entry> entry) noexcept
    : loop_(std::move(loop)), entry_(std::move(entry)) {}

bound_port::bound_port(bound_port&& other) noexcept = default;

bound_port& bound_port::operator=(bound_port&& other) noexcept {
  if (this != &other) {
    release();
    loop_ = std::move(other.loop_);
    entry_ = std::move(other.entry_);
  }
  return *this;
}

bound_port::~bound_port() {
  release();
}

void bound_port::release() noexcept {
  if (entry_) loop_->unbind(entry_);
  entry_.reset();
  loop_.reset();
}

port bound_port::number() const noexcept {
  return entry_ ? entry_->number : port(0);
}

bool bound_port::is_live() const noexcept {
  return entry_ && !entry_->death;
}

bound_port::executor_type bound_port::get_executor() const {
  if (!entry_) throw_errno(ENOTCONN, "get the executor of a port that is not bound");
  return loop_->get_executor();
}

void bound_port::notify() {
  if (!entry_) throw_errno(ENOTCONN, "notify a port that is not bound");
  loop_->notify(*entry_);
}

asio::awaitable<void> bound_port::wait() {
  if (!entry_) throw_errno(ENOTCONN, "wait for an event on a port that is not bound");
  return event_loop_state::wait(loop_, entry_);
}

detail::initiate_wait bound_port::make_initiation() const {
  if (!entry_) throw_errno(ENOTCONN, "wait for an event on a port that is not bound");
  return {loop_, entry_};
}

void bound_port::on_event(std::function<void()> callback) {
  if (!entry_) throw_errno(ENOTCONN, "listen for events on a port that is not bound");
  loop_->on_event(entry_, std::move(callback));
}

void bound_port::on_death(std::function<void(const error&)> callback) {
  if (!entry_) throw_errno(ENOTCONN, "set a death callback for a port that is not bound");
  loop_->on_death(*entry_, std::move(callback));
}

const irq_placement& bound_port::irq() const noexcept {
  static const irq_placement none{.reason = "the port is not bound"};
  return entry_ ? entry_->irq : none;
}

const irq_placement& bound_port::check_irq() {
  if (is_live()) entry_->irq = async::check_irq(loop_->options().root, std::move(entry_->irq));
  return irq();
}

}  // namespace xenpv::async
