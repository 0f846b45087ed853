#include "blkfront/frontend_queue.hpp"

#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <utility>

#include "xenpv/base/log.hpp"
#include "xenpv/base/parse.hpp"
#include "xenpv/blk/clock.hpp"

namespace xenpv::blkfront {
namespace {

namespace asio = boost::asio;
using clock = std::chrono::steady_clock;

/// How often a queue with requests looks whether they make progress. An event that got lost is
/// made up for after this long.
constexpr std::chrono::nanoseconds usual_tick = std::chrono::seconds(1);

/// Deadlines are kept to within a quarter.
std::chrono::nanoseconds tick_for(std::chrono::nanoseconds deadline) {
  if (deadline.count() == 0) return usual_tick;
  return std::clamp(deadline / 4, std::chrono::nanoseconds(1'000'000), usual_tick);
}

/// Rounds of take-and-send within one turn, before others of this CPU get theirs.
constexpr unsigned rounds_per_turn = 16;

std::vector<grant_ref> part(std::span<const grant_ref> refs, std::size_t from, std::size_t count) {
  const auto piece = refs.subspan(from, count);
  return {piece.begin(), piece.end()};
}

}  // namespace

frontend_queue::frontend_queue(asio::io_context& context, async::event_loop& loop,
                               std::size_t index, queue_options options, queue_events events)
    : context_(context),
      loop_(loop),
      index_(index),
      options_(std::move(options)),
      events_(std::move(events)),
      tick_(context),
      idle_(context, clock::time_point::max()) {
  refusal_ = make_error(std::make_error_code(std::errc::operation_canceled), options_.name);
}

frontend_queue::~frontend_queue() = default;

asio::any_io_executor frontend_queue::executor() const {
  return context_.get_executor();
}

queue_transport frontend_queue::open_transport(domid backend, const layout& plan, bool scrub) {
  const auto rings = plan.ring_pages();
  auto granted = xen::grant_sharer::open().share(backend, plan.pages_per_queue(), true);
  granted_ = std::make_shared<xen::granted_pages>(std::move(granted));
  const auto bytes = granted_->bytes();
  ring_.emplace(bytes.first(rings * page_size));
  const auto pool = [&](std::size_t from, std::size_t count) {
    return std::make_shared<blk::page_pool>(bytes.subspan(from * page_size, count * page_size),
                                            granted_, scrub);
  };
  // Nobody's but the engine's to be, which takes its own pages first.
  fresh_data_ = pool(rings, plan.data_pages);
  indirect_ =
      plan.indirect_pages == 0 ? nullptr : pool(rings + plan.data_pages, plan.indirect_pages);
  if (!port_.is_live() || port_for_ != backend) {
    port_ = loop_.bind_unbound(backend);
    port_for_ = backend;
  }
  return {part(granted_->refs(), 0, rings), port_.number()};
}

void frontend_queue::connect(const backend_properties& properties, const layout& plan,
                             std::uint16_t handle, std::shared_ptr<sector_locks> members) {
  const auto refs = granted_->refs();
  const auto before = std::exchange(data_, std::move(fresh_data_));
  engine_setup setup{.ring = *ring_,
                     .data = {data_, part(refs, plan.ring_pages(), plan.data_pages)},
                     .indirect = {},
                     .shape = properties.shape,
                     .unit = properties.unit,
                     .segments = plan.segments,
                     .flush_cache = properties.flush_cache,
                     .barrier = properties.barrier,
                     .only_queue = plan.queues == 1,
                     .handle = handle};
  if (indirect_)
    setup.indirect = {indirect_,
                      part(refs, plan.ring_pages() + plan.data_pages, plan.indirect_pages)};
  members_ = std::move(members);
  shape_ = properties.shape;
  engine_host& host = *this;
  engine_ = std::make_unique<engine>(std::move(setup), host);
  holding_ = false;
  refusal_.reset();
  last_event_ns_ = last_answer_ns_ = last_tick_ns_ = blk::now_ns();
  // The port outlives the queue's owner by a turn at most: nothing of the queue may dangle there.
  port_.on_event([self = weak_from_this()] {
    if (const auto live = self.lock()) live->turn(true);
  });
  start_tick();
  follow_journal();
  // They looked at a pool that had no page to give.
  if (before) before->wake_all();
}

void frontend_queue::reshape(const blk::geometry& shape) {
  shape_ = shape;
  if (engine_) engine_->reshape(shape);
}

void frontend_queue::submit(blk::request& r) {
  if (direct_ == nullptr) return keep(r);
  direct_->submit(r);
  schedule_turn();
}

void frontend_queue::commit() {
  if (!in_turn_) turn(false);
}

void frontend_queue::wanted() {
  schedule_turn();
}

void frontend_queue::schedule_turn() {
  if (in_turn_) look_again_ = true;
  if (turn_scheduled_ || in_turn_) return;
  turn_scheduled_ = true;
  asio::post(context_, [self = shared_from_this()] {
    self->turn_scheduled_ = false;
    self->turn(false);
  });
}

/// Takes answers and sends requests once. True if there was an answer.
bool frontend_queue::exchange(std::uint64_t now) noexcept {
  const auto before = engine_->in_flight();
  const bool any = engine_->drain(now);
  if (any) {
    const auto answers = std::max(1U, before - engine_->in_flight());
    answer_interval_ns_ = (now - std::exchange(last_answer_ns_, now)) / answers;
  }
  // What was submitted from within the answers goes out right now.
  look_again_ = false;
  if (!journal_.empty()) release_journal();
  if (engine_->start(now)) notify();
  return any;
}

void frontend_queue::notify() noexcept {
  try {
    port_.notify();
  } catch (const failure& problem) {
    // After a resume the backend is another one, and soon this queue will be told. If not, there is
    // the deadline.
    if (problem.code() == errc::resumed || problem.code() == std::errc::not_connected) return;
    engine_->fail(error{problem.code(), problem.what()});
  }
}

void frontend_queue::turn(bool event) noexcept {
  if (in_turn_) return;
  if (!engine_) return forward_ready();
  in_turn_ = true;
  auto now = blk::now_ns();
  if (event) {
    ++engine_->counters().events;
    last_event_ns_ = now;
  }
  bool any = false;
  bool more = true;
  for (unsigned round = 0; more && round < rounds_per_turn; ++round) {
    if (round != 0) now = blk::now_ns();
    const bool took = exchange(now);
    any = any || took;
    const auto distance = event_distance(engine_->in_flight(), answer_interval_ns_);
    more = !engine_->failure_reason() && (!engine_->arm(distance) || look_again_);
  }
  if (event && !any) ++engine_->counters().spurious_events;
  in_turn_ = false;
  if (engine_->failure_reason()) report_failure();
  if (more) schedule_turn();
  settle_idle();
}

void frontend_queue::start_tick() {
  tick_.expires_after(tick_for(options_.request_deadline));
  tick_.async_wait([self = weak_from_this()](boost::system::error_code code) {
    const auto live = self.lock();
    if (code || !live || !live->engine_) return;
    live->tick();
    live->start_tick();
  });
}

void frontend_queue::tick() noexcept {
  if (engine_->failure_reason()) return;
  const auto now = blk::now_ns();
  const auto due = static_cast<std::uint64_t>(tick_for(options_.request_deadline).count());
  const auto late_ns = now - std::exchange(last_tick_ns_, now);
  // Saved, paused, stopped by a debugger: not the backend's fault.
  if (late_ns > 2 * due) engine_->forgive(late_ns - due);
  const auto quiet_ns = now - std::max(last_answer_ns_, last_event_ns_);
  if (engine_->in_flight() > 0 && quiet_ns >= due) {
    // An event may have been lost, in either direction: look, and kick the backend.
    turn(false);
    if (!engine_ || engine_->failure_reason()) return;
    if (engine_->in_flight() > 0) notify();
    if (engine_->failure_reason()) return report_failure();
  }
  if (options_.request_deadline.count() == 0) return;
  const auto limit = static_cast<std::uint64_t>(options_.request_deadline.count());
  const auto late = engine_->check_deadlines(now, limit);
  if (late.requests == 0) return;
  log().error("{}: backend connected, {} requests unanswered for {}, last event {} ago",
              options_.name, late.requests, format_duration(options_.request_deadline),
              format_duration(std::chrono::nanoseconds(now - last_event_ns_)));
  schedule_turn();
}

void frontend_queue::report_failure() {
  if (std::exchange(failure_reported_, true)) return;
  if (events_.failed) events_.failed(*engine_->failure_reason());
}

void frontend_queue::settle_idle() noexcept {
  if (engine_->is_idle()) idle_.cancel();
}

asio::awaitable<bool> frontend_queue::drain(std::chrono::nanoseconds limit) {
  const auto until = clock::now() + limit;
  while (engine_ && !(engine_->is_idle() && journal_.empty())) {
    // Its end is the cancellation by settle_idle(); expiring means that the time is up.
    idle_.expires_at(until);
    const auto [code] = co_await idle_.async_wait(asio::as_tuple(asio::use_awaitable));
    if (!code) co_return false;
  }
  co_return true;
}

queue_statistics frontend_queue::statistics() const {
  auto out = past_;
  if (engine_) out.add(engine_->statistics());
  out.queued += journal_.size();
  return out;
}

void frontend_queue::shape_changed() {
  shape_ = engine_->shape();
  if (events_.reshaped) events_.reshaped(shape_);
}

void frontend_queue::lock_sector(std::uint64_t sector) {
  members_->lock(index_, sector);
}

void frontend_queue::unlock_sector(std::uint64_t sector) {
  members_->unlock(sector);
}

void frontend_queue::sector_held(std::uint64_t sector) {
  members_->held(sector);
}

}  // namespace xenpv::blkfront
