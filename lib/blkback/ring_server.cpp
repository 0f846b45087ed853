#include "blkback/ring_server.hpp"

#include <boost/asio/post.hpp>
#include <utility>

#include "xenpv/base/error.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::blkback {
namespace {

/// Maximum number of requests to consume before the other rings of this CPU run.
constexpr std::uint32_t run_budget = 512;

}  // namespace

ring_server::ring_server(asio::any_io_executor executor, async::event_loop& loop,
                         const ring_options& options, std::unique_ptr<store> disk)
    : executor_(std::move(executor)),
      report_(options.report),
      mapper_(xen::grant_mapper::open()),
      ring_(mapper_.map(options.frontend, options.location.refs, xen::map_access::read_write)),
      pages_(mapper_, options.frontend),
      store_(std::move(disk)),
      engine_(ring_.bytes(), pages_, *store_, options.engine),
      port_(loop.bind_interdomain(options.frontend, options.location.event_channel)) {
  engine_.set_faults(options.faults);
  engine_.on_wake([this] { process_soon(); });
}

ring_server::~ring_server() = default;

void ring_server::start() {
  port_.on_event([this] { process(); });
  process();
}

void ring_server::stop() {
  stopping_ = true;
  cancel_late_timers();
  engine_.stop_taking();
  report();
}

void ring_server::set_faults(const disk_faults& faults) {
  cancel_late_timers();
  engine_.set_faults(faults);
  process();
}

void ring_server::set_size(std::uint64_t size) {
  engine_.set_size(size);
}

void ring_server::process() {
  const auto done = engine_.run(run_budget);
  if (done.notify) notify();
  if (done.more) process_soon();
  schedule_held();
  schedule_late();
  const ring_status now{engine_.in_store() == 0, engine_.halted(), engine_.vanished()};
  if (stopping_ || now.halted != reported_.halted || now.vanished != reported_.vanished) report();
}

void ring_server::process_soon() {
  asio::post(executor_, [self = weak_from_this()] {
    if (const auto alive = self.lock()) alive->process();
  });
}

/// Starts a timer for the responses newly held back by the delay fault.
void ring_server::schedule_held() {
  const auto fresh = engine_.held() - scheduled_;
  if (fresh == 0) return;
  scheduled_ += fresh;
  timers_.emplace_back(executor_, engine_.hold_time());
  const auto timer = std::prev(timers_.end());
  timer->async_wait([self = weak_from_this(), timer, fresh](const auto& cancelled) {
    const auto alive = self.lock();
    if (!alive || cancelled) return;
    alive->timers_.erase(timer);
    alive->scheduled_ -= fresh;
    if (alive->engine_.release(fresh)) alive->notify();
  });
}

/// Starts a timer for the writes newly delayed by the late fault.
void ring_server::schedule_late() {
  const auto fresh = engine_.late() - late_scheduled_;
  if (fresh == 0) return;
  late_scheduled_ += fresh;
  late_timers_.emplace_back(executor_, engine_.late_time());
  const auto timer = std::prev(late_timers_.end());
  timer->async_wait([self = weak_from_this(), timer, fresh,
                     generation = late_generation_](const auto& cancelled) {
    const auto alive = self.lock();
    // cancel_late_timers() cannot cancel a timer that has already expired, so check the generation.
    if (!alive || cancelled || generation != alive->late_generation_) return;
    alive->late_timers_.erase(timer);
    alive->late_scheduled_ -= fresh;
    alive->engine_.carry_out(fresh);
  });
}

/// Must be called before the engine submits all late writes.
void ring_server::cancel_late_timers() {
  ++late_generation_;
  late_timers_.clear();
  late_scheduled_ = 0;
}

void ring_server::report() {
  reported_ = {engine_.in_store() == 0, engine_.halted(), engine_.vanished()};
  if (report_) report_(reported_);
}

void ring_server::notify() noexcept {
  try {
    port_.notify();
  } catch (const std::exception& problem) {
    // The frontend may have closed its end; the handshake detects whether it reconnects.
    log().debug("{}", problem.what());
  }
}

}  // namespace xenpv::blkback
