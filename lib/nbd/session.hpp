// The transmission phase of one connection: passes requests from a stream to a dispatcher, and
// replies back to the stream. Begins all complete requests in the buffer before it commits the
// batch to the device. Sends all queued replies in one gathered write. Receives large payloads
// directly into the device's pages.
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
#include <exception>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

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
      hang_up(problem.what());
    }
    co_await finish();
    co_return reason_;
  }

 private:
  asio::awaitable<void> converse(std::span<const std::byte> first) {
    buffer_.assign(first);
    while (reason_.empty()) {
      co_await take_requests();
      if (!reason_.empty()) break;
      if (!receive_at_once()) co_await receive(false);
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

  /// Begins every complete request in the buffer; waits while the dispatcher lacks resources.
  asio::awaitable<void> take_requests() {
    incoming_request next;
    while (next_request(next)) {
      const auto& [header, checked] = next;
      if (!dispatcher_.prepare(header, checked)) {
        commit();
        // Then checks the request again, because the export may have changed during the wait.
        if (dispatcher_.is_waiting()) co_await changed_.wait();
        continue;
      }
      consume_header();
      buffer_.set_window(checked.payload >= large_payload ? short_receive_size
                                                          : receive_buffer_size);
      add_to_batch(request_cost + header.length);
      auto* const write_request = dispatcher_.begin(header, checked);
      if (write_request != nullptr)
        co_await receive_payload(*write_request);
      else if (checked.payload > 0)
        co_await skip(checked.payload);
      if (is_batch_full() && buffer_.size() > 0) {
        // Lets other connections of this thread run.
        commit();
        co_await asio::post(executor_, asio::use_awaitable);
      }
    }
  }

  [[nodiscard]] asio::mutable_buffer receive_space() {
    const auto space = buffer_.space();
    return {space.data(), space.size()};
  }

  /// Reads without waiting, so that no other handler runs in the middle of a batch. Returns 0 if
  /// there is no data yet or if the batch is large enough. The next receive() reports the end of
  /// the stream.
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

  /// `in_payload`: the bytes belong to the payload of a request.
  asio::awaitable<void> receive(bool in_payload) {
    commit();
    const auto space = receive_space();
    // Between requests, the client may be idle for any time.
    if (in_payload || buffer_.size() > 0) await_sender();
    const auto [code, count] = co_await stream_.async_read_some(
        space, asio::bind_cancellation_slot(between_requests_.slot(),
                                            asio::as_tuple(asio::use_awaitable)));
    received(count);
    if (code) end("the client closed the connection");
    buffer_.received(count);
  }

  /// Receives the payload of a WRITE.
  asio::awaitable<void> receive_payload(client_request& request) {
    try {
      co_await receive_all(request);
    } catch (const std::exception&) {
      dispatcher_.abandon_payload(request);
      throw;
    }
  }

  asio::awaitable<void> receive_all(client_request& request) {
    auto step = payload_step::receive;
    while (step != payload_step::done) {
      if (step == payload_step::wait) {
        if (is_cut_) co_return dispatcher_.abandon_payload(request);
        commit();
        if (dispatcher_.is_waiting()) co_await changed_.wait();
        step = dispatcher_.next_payload(request);
        continue;
      }
      if (step == payload_step::discard) {
        const auto left = dispatcher::payload_left(request);
        dispatcher_.discard_payload(request);
        co_await skip(left);
        co_return;
      }
      std::size_t count = take_payload(request);
      if (count == 0) count = read_at_once(vectors_);
      if (count > 0) {
        add_to_batch(count);
        step = dispatcher_.payload_received(request, count);
        continue;
      }
      // The device can process the requests already begun while more bytes arrive.
      commit();
      await_sender();
      const auto [code, received_now] =
          co_await stream_.async_read_some(vectors_, asio::as_tuple(asio::use_awaitable));
      received(received_now);
      if (received_now > 0) step = dispatcher_.payload_received(request, received_now);
      if (code && step != payload_step::done) {
        end("the client closed the connection in the middle of a write");
        co_return dispatcher_.abandon_payload(request);
      }
    }
  }

  /// Copies the payload bytes that are already in the buffer and returns their number. If there are
  /// none, sets vectors_ to the space for the next ones.
  std::size_t take_payload(const client_request& request) {
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

  /// Discards the payload of a refused request.
  asio::awaitable<void> skip(std::uint64_t left) {
    buffer_.set_window(receive_buffer_size);
    for (;;) {
      const auto count = std::min<std::uint64_t>(left, buffer_.size());
      buffer_.consume(static_cast<std::size_t>(count));
      left -= count;
      if (left == 0 || !reason_.empty()) co_return;
      co_await receive(true);
    }
  }

  Stream& stream_;
  reply_writer<Stream> replies_;
  std::vector<std::span<std::byte>> space_;
  std::vector<asio::mutable_buffer> vectors_;
};

}  // namespace xenpv::nbd
