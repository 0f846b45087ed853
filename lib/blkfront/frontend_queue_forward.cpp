// Forwarding: a queue without a ring sends its requests through another queue.
#include <boost/asio/post.hpp>

#include <memory>
#include <utility>

#include "blkfront/frontend_queue.hpp"
#include "blkfront/request_data.hpp"

namespace xenpv::blkfront {

/// A copy of a request for another queue's ring, with its own data buffer. The caller's pages may
/// be accessed only on the caller's thread, and they no longer exist if the original request
/// completed early because the disk failed.
struct frontend_queue::forwarded_request : blk::request {
  blk::request* original = nullptr;
  journal::ticket ticket = 0;
  std::shared_ptr<frontend_queue> source;
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
  auto copy = std::make_unique<forwarded_request>();
  copy->op = r.op;
  copy->fua = r.fua;
  copy->offset = r.offset;
  copy->length = r.length;
  copy->original = &r;
  copy->ticket = ticket;
  copy->source = shared_from_this();
  const bool has_data =
      r.memory != nullptr || (r.pages != nullptr && r.pages->length() >= r.length);
  if (carries_data(r.op) && has_data && r.length <= shape_.size) {
    copy->bytes.resize(r.length);
    copy->memory = copy->bytes.data();
    if (r.op == blk::operation::write) copy_from_request(r, 0, copy->bytes);
  }
  copy->done = [](blk::request& completed) {
    auto* const forwarded = static_cast<forwarded_request*>(&completed);
    asio::post(forwarded->source->context_, [forwarded] {
      const std::unique_ptr<forwarded_request> answer(forwarded);
      answer->source->take_forwarded(*answer);
    });
  };
  // The target owns the copy until it calls `done`.
  asio::post(target->context_, [target, sent = copy.release()] { target->submit(*sent); });
}

void frontend_queue::take_forwarded(const forwarded_request& answer) {
  // The original may already have completed because the disk failed or was detached.
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
