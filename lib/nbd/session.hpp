// The transmission phase of one connection: passes requests from a stream to a dispatcher, and
// replies back to the stream. Begins all complete requests in the buffer before it commits the
// batch to the device. Sends all queued replies in one gathered write. Receives large payloads
// directly into the device's pages.
//
// take_input() does as much as possible without waiting, so that it can commit the requests and
// send the replies of many events together; the coroutine converse() does the waiting.
//
// Runs on the thread of its queue. `Stream` is a socket or a TLS stream. Does not listen or
// negotiate options (see server.hpp).
#pragma once

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstdint>
#include <exception>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "async/event_batch.hpp"
#include "nbd/client_socket.hpp"
#include "nbd/reply_writer.hpp"
#include "nbd/session_base.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::nbd {

/// The fixed cost of a request in a batch, in bytes.
inline constexpr std::uint64_t request_cost = std::uint64_t{4} << 10;

/// A stream that can be read without waiting.
template <class Stream>
concept readable_at_once = requires(Stream& s, boost::system::error_code& code) {
  s.non_blocking(true, code);
  s.read_some(asio::mutable_buffer(), code);
};

template <class Stream>
class session final : public session_base {
 public:
  /// `shut` closes the connection immediately, in both directions. Called when the client violates
  /// the protocol, no longer accepts replies, or makes no progress.
  session(Stream& stream, blk::block_queue& queue, const export_info& exported, session_terms terms,
          std::function<void()> shut, const session_limits& limits = {})
      : session_base(queue, exported, terms, std::move(shut), limits),
        stream_(stream),
        replies_(stream, executor_, dispatcher_, [this](bool broken) { replied(broken); }) {
    if constexpr (readable_at_once<Stream>) {
      boost::system::error_code ignored;
      stream_.non_blocking(true, ignored);
    }
  }

  asio::awaitable<std::string> run(std::span<const std::byte> first) override {
    try {
      co_await converse(first);
    } catch (const std::exception& problem) {
      // Out of memory. The requests in flight use this session's memory until they are complete.
      if (payload_of_ != nullptr) abandon_payload();
      hang_up(problem.what());
    }
    co_await finish();
    co_return reason_;
  }

 private:
  /// What the session has to wait for before take_input() can continue.
  enum class need : std::uint8_t {
    nothing,   ///< the session has ended, or it can continue immediately
    requests,  ///< the next request, or the rest of its header
    memory,    ///< memory for the next request, or for the next bytes of a payload
    payload,   ///< bytes for `vectors_`
    skipped,   ///< bytes of the payload of a refused request
    turn,      ///< the other connections of this thread
  };

  asio::awaitable<void> converse(std::span<const std::byte> first) {
    buffer_.assign(first);
    for (;;) {
      const auto next = take_input();
      switch (next) {
        case need::nothing:
          co_return;
        case need::requests:
        case need::skipped: {
          // Between requests, the client may be idle for any time.
          if (next == need::skipped || buffer_.size() > 0) await_sender();
          const auto [code, count] = co_await stream_.async_read_some(
              receive_space(), asio::bind_cancellation_slot(between_requests_.slot(),
                                                            asio::as_tuple(asio::use_awaitable)));
          received(count);
          if (code) end("the client closed the connection");
          buffer_.received(count);
          break;
        }
        case need::payload: {
          await_sender();
          const auto [code, count] =
              co_await stream_.async_read_some(vectors_, asio::as_tuple(asio::use_awaitable));
          received(count);
          payload_received(count, static_cast<bool>(code));
          break;
        }
        case need::memory:
          // Some may have become available since, and a notification that precedes the wait is
          // lost.
          if (dispatcher_.is_waiting() && !is_cut_) co_await changed_.wait();
          break;
        case need::turn:
          co_await asio::post(executor_, asio::use_awaitable);
          break;
      }
    }
  }

  /// Waits until all requests are complete. Terminates the program if there is not even enough
  /// memory to wait: the custodian then closes the device.
  asio::awaitable<void> finish() {
    try {
      dispatcher_.cancel_prepare();
      commit();
      while (dispatcher_.in_flight() > 0 || !replies_.is_idle())
        co_await changed_.wait();
    } catch (const std::exception& problem) {
      log().error("cannot wait for requests in flight: {}", problem.what());
      std::terminate();
    }
    progress_.cancel();
    dispatcher_.release_spare();
  }

  void start_replies() override { replies_.start(); }
  [[nodiscard]] session_progress stream_progress() const override {
    session_progress out;
    out.is_gone = is_disconnected(stream_.native_handle());
    out.sent = replies_.bytes_sent();
    out.awaits_reader = replies_.awaits_client();
    out.is_busy = !replies_.is_idle();
    return out;
  }

  /// Begins the requests that have arrived and commits them. Then, while the device processes them,
  /// sends the replies to requests that were complete by then.
  need take_input() {
    const async::event_batch batch;
    const auto next = begin_requests();
    commit();
    return next;
  }

  need begin_requests() {
    incoming_request request;
    for (;;) {
      const auto next = payload_of_ != nullptr ? take_payload()
                        : left_to_skip_ > 0    ? skip_payload()
                                               : begin_next(request);
      if (next == need::requests && expects_requests() && receive_at_once()) continue;
      if (next != need::nothing) return next;
      if (payload_of_ != nullptr) continue;
      if (!reason_.empty()) return need::nothing;
      if (left_to_skip_ == 0 && is_batch_full() && buffer_.size() > 0) return need::turn;
    }
  }

  /// Begins the next request in the buffer.
  need begin_next(incoming_request& next) {
    if (!next_request(next)) return reason_.empty() ? need::requests : need::nothing;
    const auto& [header, checked] = next;
    // After a wait, the request is checked again, because the export may have changed.
    if (!dispatcher_.prepare(header, checked)) return need::memory;
    consume_header();
    buffer_.set_window(checked.payload >= large_payload ? short_receive_size : receive_buffer_size);
    add_to_batch(request_cost + header.length);
    payload_of_ = dispatcher_.begin(header, checked);
    step_ = payload_step::receive;
    if (payload_of_ == nullptr && checked.payload > 0) skip(checked.payload);
    return need::nothing;
  }

  /// Whether to read again before the commit, so that further requests become part of the batch. A
  /// client with only one request in flight probably waits for the reply.
  [[nodiscard]] bool expects_requests() const noexcept { return dispatcher_.in_flight() > 1; }

  [[nodiscard]] asio::mutable_buffer receive_space() {
    const auto space = buffer_.space();
    return {space.data(), space.size()};
  }

  /// Reads without waiting, so that no other handler runs in the middle of a batch. Returns 0 if
  /// there is no data yet or if the batch is large enough. The next asynchronous read reports the
  /// end of the stream.
  template <class Buffers>
  std::size_t read_at_once([[maybe_unused]] const Buffers& buffers) {
    if constexpr (readable_at_once<Stream>) {
      if (is_batch_full()) return 0;
      boost::system::error_code ignored;
      return stream_.read_some(buffers, ignored);
    } else {
      return 0;
    }
  }

  bool receive_at_once() {
    const auto count = read_at_once(receive_space());
    buffer_.received(count);
    return count > 0;
  }

  /// Receives the payload of a WRITE, as much of it as has arrived.
  need take_payload() {
    auto& request = *payload_of_;
    if (step_ == payload_step::wait) {
      if (is_cut_) return abandon_payload();
      step_ = dispatcher_.next_payload(request);
    }
    while (step_ == payload_step::receive) {
      auto count = copy_payload(request);
      if (count == 0) count = read_at_once(vectors_);
      if (count == 0) return need::payload;
      add_to_batch(count);
      step_ = dispatcher_.payload_received(request, count);
    }
    if (step_ == payload_step::wait) return need::memory;
    payload_of_ = nullptr;
    if (step_ == payload_step::done) return need::nothing;
    const auto left = dispatcher::payload_left(request);
    dispatcher_.discard_payload(request);
    skip(left);
    return need::nothing;
  }

  /// Call after a read for `vectors_`, which may have failed after it received bytes.
  void payload_received(std::size_t count, bool has_failed) {
    if (count > 0) step_ = dispatcher_.payload_received(*payload_of_, count);
    if (!has_failed || step_ == payload_step::done) return;
    end("the client closed the connection in the middle of a write");
    abandon_payload();
  }

  need abandon_payload() {
    dispatcher_.abandon_payload(*std::exchange(payload_of_, nullptr));
    return need::nothing;
  }

  /// Copies the payload bytes that are already in the buffer and returns their number. If there are
  /// none, sets vectors_ to the space for the next ones.
  std::size_t copy_payload(const client_request& request) {
    space_.clear();
    dispatcher_.payload_space(request, space_);
    std::size_t copied = 0;
    for (auto& stretch : space_) {
      const auto count = buffer_.move_to(stretch);
      copied += count;
      if (count < stretch.size()) break;
    }
    if (copied > 0) return copied;
    vectors_.clear();
    for (const auto& stretch : space_)
      vectors_.emplace_back(stretch.data(), stretch.size());
    return 0;
  }

  /// Discards the next `size` bytes, the payload of a refused request.
  void skip(std::uint64_t size) {
    left_to_skip_ = size;
    buffer_.set_window(receive_buffer_size);
  }

  need skip_payload() {
    const auto count = std::min<std::uint64_t>(left_to_skip_, buffer_.size());
    buffer_.consume(static_cast<std::size_t>(count));
    left_to_skip_ -= count;
    return left_to_skip_ > 0 && reason_.empty() ? need::skipped : need::nothing;
  }

  Stream& stream_;
  reply_writer<Stream> replies_;
  std::vector<std::span<std::byte>> space_;
  std::vector<asio::mutable_buffer> vectors_;
  client_request* payload_of_ = nullptr;       ///< the WRITE whose payload comes next
  payload_step step_ = payload_step::receive;  ///< how to continue with that payload
  std::uint64_t left_to_skip_ = 0;             ///< bytes of the payload of a refused request
};

}  // namespace xenpv::nbd
