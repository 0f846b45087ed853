// A queue without a backend: keeping requests, sending them again, or answering them for want of a
// disk.
#include <boost/asio/post.hpp>

#include <cstring>
#include <utility>

#include "blkfront/frontend_queue.hpp"
#include "blkfront/request_data.hpp"
#include "xenpv/blk/clock.hpp"

namespace xenpv::blkfront {
namespace {

namespace asio = boost::asio;

/// Leases of a queue that has no granted pages: enough for a few requests without a detour.
constexpr std::size_t own_pages = 64;

std::shared_ptr<blk::page_pool> ungranted_pool(std::size_t pages) {
  const auto bytes = pages * page_size;
  const std::shared_ptr<std::byte[]> memory(new std::byte[bytes]);
  return std::make_shared<blk::page_pool>(std::span(memory.get(), bytes), memory);
}

/// What is true of a moment only does not add up.
void forget_gauges(queue_statistics& counted) {
  counted.in_flight = counted.queued = counted.pages = counted.pages_used = 0;
  counted.pages_most = counted.ring_entries = 0;
}

}  // namespace

/// A request on its way through another queue's ring. Its data is in memory of its own: the
/// caller's may be pages that only the caller's thread may touch, and may be gone when the request
/// was answered for lack of a disk.
struct frontend_queue::forwarded_request : blk::request {
  blk::request* original = nullptr;
  replay_order::ticket ticket = 0;
  std::shared_ptr<frontend_queue> from;
  std::vector<std::byte> bytes;
};

/// Gives up the ring, its pages and, unless told otherwise, its port. `data_` stays, for those who
/// look at it.
void frontend_queue::drop_transport(bool keep_port) noexcept {
  tick_.cancel();
  if (!keep_port || !port_.is_live())
    port_ = {};
  else
    port_.on_event({});
  direct_ = nullptr;
  if (engine_) {
    past_.add(engine_->statistics());
    forget_gauges(past_);
  }
  engine_.reset();
  ring_.reset();
  // Leases that are still out keep the pages themselves.
  indirect_.reset();
  fresh_data_.reset();
  granted_.reset();
}

void frontend_queue::close_transport() noexcept {
  if (engine_ && engine_->failure_reason()) refusal_ = engine_->failure_reason();
  drop_transport(false);
  idle_.cancel();
  // Sessions may still look at it.
  const auto before = std::exchange(data_, ungranted_pool(0));
  if (before) before->wake_all();
}

std::size_t frontend_queue::suspend(bool keep_port, connection_loss) {
  // A lying backend was given up for good.
  if (engine_ && engine_->failure_reason()) return 0;
  std::size_t unanswered = 0;
  if (engine_) {
    // What was answered before the loss is answered; what that makes callers submit, waits. But
    // after a resume the ring is left alone: whatever is in there belongs to another time.
    if (port_.is_live()) {
      in_turn_ = true;
      (void)engine_->drain(blk::now_ns());
      in_turn_ = false;
    }
    if (engine_->failure_reason()) {
      report_failure();
      return 0;
    }
    for (auto* const r : engine_->surrender()) {
      ++unanswered;
      // Marked, it is in the journal already: the backend before was lost, too.
      if (r->device.flags != 0)
        journal_.unsend(*r);
      else
        journal_.hold(*r, r->device.submitted_ns == 0 ? blk::now_ns() : r->device.submitted_ns);
    }
  }
  target_.reset();
  drop_transport(keep_port);
  holding_ = true;
  refusal_.reset();
  // Nobody gets a page that is about to go; who has some for a request that waits here loses them.
  const auto before = std::exchange(data_, ungranted_pool(0));
  journal_.leave_pages();
  if (before) before->wake_all();
  idle_.cancel();
  return unanswered;
}

void frontend_queue::fail_queued(const error& why) {
  if (!holding_) return;
  refusal_ = why;
  journal_.answer_all(why.code);
}

void frontend_queue::shut(error why) {
  direct_ = nullptr;
  refusal_ = std::move(why);
  if (!engine_) journal_.answer_all(refusal_->code);
}

void frontend_queue::fail(const error& why) {
  if (engine_) {
    if (!engine_->failure_reason()) engine_->fail(why);
    direct_ = engine_.get();
    settle_idle();
  } else {
    refusal_ = why;
  }
  target_.reset();
  holding_ = false;
  // Those that the engine had are answered, and out of it.
  journal_.answer_all(why.code);
}

/// Takes a request that cannot go straight to the ring.
void frontend_queue::keep(blk::request& r) {
  r.status = {};
  r.device = {};
  if (refusal_) return answer_later(r, refusal_->code);
  journal_.hold(r, blk::now_ns());
  if (!holding_) schedule_turn();
}

void frontend_queue::answer_later(blk::request& r, std::error_code status) {
  r.status = status;
  r.answered_ns = 0;
  asio::post(context_, [&r] { r.done(r); });
}

void frontend_queue::release_journal() noexcept {
  journal_.send_ready([this](blk::request& r, replay_order::ticket) {
    engine_->submit(r);
    r.device.flags = journal::mark;
  });
}

void frontend_queue::marked_answered(blk::request& r) {
  journal_.answered(r);
  follow_journal();
}

/// After a change of the journal: on with it, or back to the short way.
void frontend_queue::follow_journal() noexcept {
  if (!refusal_ && engine_ && journal_.empty())
    direct_ = engine_.get();
  else
    schedule_turn();
}

void frontend_queue::forward_to(const std::shared_ptr<frontend_queue>& target,
                                const blk::geometry& shape) {
  target_ = target;
  shape_ = shape;
  holding_ = false;
  refusal_.reset();
  const auto before = std::exchange(data_, ungranted_pool(own_pages));
  if (before) before->wake_all();
  schedule_turn();
}

void frontend_queue::forward_ready() noexcept {
  if (holding_ || journal_.empty()) return;
  journal_.send_ready([this](blk::request& r, replay_order::ticket ticket) { forward(r, ticket); });
}

void frontend_queue::forward(blk::request& r, replay_order::ticket ticket) {
  const auto target = target_.lock();
  if (!target) return;
  auto* const own = new forwarded_request;
  own->op = r.op;
  own->fua = r.fua;
  own->offset = r.offset;
  own->length = r.length;
  own->original = &r;
  own->ticket = ticket;
  own->from = shared_from_this();
  const bool has_data =
      r.memory != nullptr || (r.pages != nullptr && r.pages->length() >= r.length);
  if (carries_data(r.op) && has_data && r.length <= shape_.size) {
    own->bytes.resize(r.length);
    own->memory = own->bytes.data();
    if (r.op == blk::operation::write) copy_from_request(r, 0, own->bytes);
  }
  own->done = [](blk::request& each) {
    auto* const done = static_cast<forwarded_request*>(&each);
    asio::post(done->from->context_, [done] {
      const std::unique_ptr<forwarded_request> answer(done);
      answer->from->take_forwarded(*answer);
    });
  };
  asio::post(target->context_, [target, own] { target->submit(*own); });
}

void frontend_queue::take_forwarded(const forwarded_request& answer) {
  // It may have been answered already, for lack of a disk.
  if (!journal_.holds(answer.ticket)) return;
  auto& r = *answer.original;
  if (r.op == blk::operation::read && !answer.bytes.empty() && !answer.status)
    copy_to_request(r, 0, answer.bytes);
  r.status = answer.status;
  r.answered_ns = answer.answered_ns;
  journal_.answered(r);
  r.done(r);
  follow_journal();
}

}  // namespace xenpv::blkfront
