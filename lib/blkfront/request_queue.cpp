#include "blkfront/request_queue.hpp"

namespace xenpv::blkfront {
namespace {

/// Gauges must not be summed over several engines.
void forget_gauges(queue_statistics& counted) {
  counted.in_flight = counted.queued = counted.pages = counted.pages_used = 0;
  counted.pages_most = counted.ring_entries = 0;
  counted.stalled = false;
}

}  // namespace

request_queue::fate request_queue::submit(blk::request& r, std::uint64_t now) {
  switch (state_) {
    case queue_state::connected:
      if (journal_.empty()) {
        engine_->submit(r);
        return fate::sent_soon;
      }
      break;
    case queue_state::suspended:
    case queue_state::forwarding:
      break;
    case queue_state::closed:
    case queue_state::expired:
    case queue_state::draining:
    case queue_state::failed:
      r.status = refusal_.code;
      r.answered_ns = 0;
      return fate::refused;
  }
  r.status = {};
  r.device = {};
  const bool waits = journal_.add(r, now);
  if (ledger_ && ledger_->is_in_doubt(index_)) journal_.doubt_flushes();
  // The requests for which `r` waits may need the pages leased by `r`.
  if (waits && state_ == queue_state::connected && r.pages != nullptr) (void)r.pages->move_out();
  return state_ == queue_state::suspended ? fate::waits : fate::sent_soon;
}

bool request_queue::send(std::uint64_t now) noexcept {
  if (!journal_.empty() && !engine_->failure_reason())
    journal_.send_ready([this](blk::request& r, journal::ticket, bool in_doubt) {
      engine_->submit(r);
      r.device.flags = in_doubt ? journal::mark | engine::in_doubt : journal::mark;
    });
  return engine_->send(now);
}

void request_queue::fail_doubtful(blk::request& r) {
  if (ledger_) ledger_->report(index_);
  ++refused_flushes_;
  journal_.answered(r);
  r.status = std::make_error_code(std::errc::io_error);
  r.answered_ns = 0;
  r.done(r);
}

void request_queue::connect(engine_setup setup, engine_host& host) {
  if (ledger_ && ledger_->is_in_doubt(index_)) journal_.doubt_flushes();
  setup.ledger = ledger_;
  setup.queue = index_;
  engine_ = std::make_unique<engine>(std::move(setup), host);
  state_ = queue_state::connected;
}

void request_queue::forward() noexcept {
  if (ledger_ && ledger_->is_in_doubt(index_)) journal_.doubt_flushes();
  state_ = queue_state::forwarding;
}

std::size_t request_queue::suspend(bool consume_responses, bool lost_cache, std::uint64_t now) {
  // A failure after a protocol violation is final.
  if (state_ == queue_state::failed) return 0;
  std::size_t unanswered = 0;
  std::vector<blk::request*> timed_out;
  if (engine_) {
    if (consume_responses) (void)engine_->drain(now);
    if (engine_->failure_reason()) return 0;
    for (auto* const r : engine_->take_unfinished()) {
      // The request has timed out and given up its lease, and was waiting only for the fences.
      if (r->status == errc::timed_out) {
        timed_out.push_back(r);
        continue;
      }
      ++unanswered;
      // A marked request has been in the journal since an earlier backend was lost.
      if ((r->device.flags & journal::mark) != 0)
        journal_.unsend(*r);
      else
        (void)journal_.add(*r, r->device.submitted_ns == 0 ? now : r->device.submitted_ns);
    }
    end_engine();
  }
  // Do this even without a ring: a lost backend cache may be detected only after the ring was
  // dropped.
  if (lost_cache && ledger_) (void)ledger_->lose(index_);
  if (state_ != queue_state::expired) state_ = queue_state::suspended;
  // Complete these last, so that requests that callers submit from within `done` are queued.
  for (auto* const r : timed_out) {
    if ((r->device.flags & journal::mark) != 0) journal_.answered(*r);
    r->answered_ns = now;
    r->done(*r);
  }
  return unanswered;
}

void request_queue::expire(error reason) {
  if (state_ != queue_state::suspended && state_ != queue_state::expired) return;
  state_ = queue_state::expired;
  refusal_ = std::move(reason);
  journal_.answer_all(refusal_.code);
}

void request_queue::shut(error reason) {
  refusal_ = std::move(reason);
  if (state_ == queue_state::connected || state_ == queue_state::forwarding) {
    state_ = queue_state::draining;
    return;
  }
  if (state_ == queue_state::failed) return;
  state_ = queue_state::closed;
  journal_.answer_all(refusal_.code);
}

void request_queue::fail(error reason) {
  if (state_ != queue_state::failed) refusal_ = std::move(reason);
  state_ = queue_state::failed;
  if (engine_ && !engine_->failure_reason()) engine_->fail(refusal_);
  // The engine has completed its own requests and removed them from the journal.
  journal_.answer_all(refusal_.code);
}

void request_queue::close() noexcept {
  if (engine_ && engine_->failure_reason()) refusal_ = *engine_->failure_reason();
  end_engine();
  if (state_ != queue_state::failed) state_ = queue_state::closed;
}

void request_queue::end_engine() noexcept {
  if (!engine_) return;
  past_.add(engine_->statistics());
  forget_gauges(past_);
  engine_.reset();
}

queue_statistics request_queue::statistics() const {
  auto out = past_;
  if (engine_) out.add(engine_->statistics());
  out.queued += journal_.size();
  out.flushes_refused += refused_flushes_;
  return out;
}

}  // namespace xenpv::blkfront
