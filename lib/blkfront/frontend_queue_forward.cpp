// A queue without a ring: its requests go through another queue's.
#include <boost/asio/post.hpp>

#include <memory>
#include <utility>

#include "blkfront/frontend_queue.hpp"
#include "blkfront/request_data.hpp"

namespace xenpv::blkfront {
namespace {

namespace asio = boost::asio;

}  // namespace

/// A request on its way through another queue's ring. Its data is in memory of its own: the
/// caller's may be pages that only the caller's thread may touch, and may be gone when the request
/// was answered because the disk went.
struct frontend_queue::forwarded_request : blk::request {
  blk::request* original = nullptr;
  journal::ticket ticket = 0;
  std::shared_ptr<frontend_queue> from;
  std::vector<std::byte> bytes;
};

void frontend_queue::forward_to(const std::shared_ptr<frontend_queue>& target,
                                const blk::geometry& shape) {
  target_ = target;
  shape_ = shape;
  requests_.forward();
  replace_pool(own_pages);
  schedule_turn();
}

void frontend_queue::send_forwarded() noexcept {
  const auto state = requests_.state();
  if (state != queue_state::forwarding && state != queue_state::draining) return;
  requests_.send_forwarded([this](blk::request& r, journal::ticket ticket) { forward(r, ticket); });
  notice_idle();
}

void frontend_queue::forward(blk::request& r, journal::ticket ticket) {
  const auto target = target_.lock();
  if (!target) return;
  auto own = std::make_unique<forwarded_request>();
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
  // Owned by the target until `done`.
  asio::post(target->context_, [target, sent = own.release()] { target->submit(*sent); });
}

void frontend_queue::take_forwarded(const forwarded_request& answer) {
  // It may have been answered already, because the disk went.
  if (!requests_.waits(answer.ticket)) return;
  auto& r = *answer.original;
  if (r.op == blk::operation::read && !answer.bytes.empty() && !answer.status)
    copy_to_request(r, 0, answer.bytes);
  r.status = answer.status;
  r.answered_ns = answer.answered_ns;
  requests_.answered(r);
  r.done(r);
  schedule_turn();
}

}  // namespace xenpv::blkfront
