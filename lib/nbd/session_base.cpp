#include "nbd/session_base.hpp"

#include <boost/asio/post.hpp>
#include <utility>

namespace xenpv::nbd {

session_base::session_base(blk::block_queue& queue, const export_info& exported,
                           session_terms terms, std::function<void()> shut,
                           const session_limits& limits)
    : executor_(queue.get_executor()),
      export_(exported),
      terms_(terms),
      shut_(std::move(shut)),
      dispatcher_(
          queue, terms,
          [this] {
            start_replies();
            progress_.start();
          },
          [this] { changed_.notify(); },
          [executor = executor_, alive = std::weak_ptr<session_base*>(alive_)] {
            asio::post(executor, [alive] {
              if (const auto self = alive.lock()) (*self)->dispatcher_.memory_granted();
            });
          },
          limits.requests, limits.shared, exported.first),
      changed_(executor_),
      progress_(
          executor_, limits.progress,
          {[this] { return inspect(); }, [this](std::string reason) { hang_up(std::move(reason)); },
           [this] { dispatcher_.release_spare(); }}) {}

void session_base::drain() {
  end("the server ends the connection");
  changed_.notify();
  between_requests_.emit(asio::cancellation_type::total);
}

void session_base::abandon() noexcept {
  is_cut_ = true;
  dispatcher_.abandon();
  // A session that waits for memory must not continue to wait.
  end("the connection was closed");
  changed_.notify();
}

bool session_base::next_request(incoming_request& next) {
  if (!reason_.empty() || buffer_.size() < header_size()) return false;
  const auto bytes = buffer_.bytes();
  const auto header = terms_.extended
                          ? decode_extended_request(bytes.first<extended_request_size>())
                          : decode_request(bytes.first<request_size>());
  if (!header) {
    hang_up("invalid magic number in a request");
    return false;
  }
  if (header->type == wire::nbd_command::disc) {
    consume_header();
    end("the client disconnected");
    disconnect_received_ = true;
    return false;
  }
  next.header = *header;
  next.checked = check_request(*header, export_, terms_);
  if (next.checked.disconnect) hang_up("the client announced an oversized payload");
  return !next.checked.disconnect;
}

void session_base::end(std::string reason) {
  if (reason_.empty()) reason_ = std::move(reason);
}

void session_base::hang_up(std::string reason) {
  if (reason_.empty()) ended_by_server_ = true;
  end(std::move(reason));
  is_cut_ = true;
  shut_();
  changed_.notify();
}

void session_base::replied(bool broken) {
  if (broken && !is_cut_) {
    end("the client no longer accepts replies");
    hang_up({});
  }
  changed_.notify();
}

session_progress session_base::inspect() const {
  auto state = stream_progress();
  state.received = received_;
  state.awaits_reader = state.awaits_reader && !is_cut_;
  state.awaits_sender = awaits_sender_ && !is_cut_;
  state.is_busy = state.is_busy || dispatcher_.in_flight() > 0;
  state.is_gone = state.is_gone && !is_cut_;
  state.holds_up_others = dispatcher_.holds_up_others();
  return state;
}

}  // namespace xenpv::nbd
