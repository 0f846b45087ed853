// The transmission phase of one connection: passes requests from a stream to a dispatcher, and
// replies back to the stream. Begins all complete requests in the buffer before it commits the
// batch to the device. Sends all queued replies in one gathered write. Receives large payloads
// directly into the device's pages.
//
// Runs on the thread of its queue. `Stream` is a socket or a TLS stream. Does not listen or
// negotiate options (see server.hpp).
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "async/signal.hpp"
#include "nbd/reply_writer.hpp"
#include "nbd/transmission.hpp"

namespace xenpv::nbd {

/// Maximum number of bytes per read for requests and small payloads.
inline constexpr std::size_t receive_buffer_size = std::size_t{128} << 10;
/// The same limit for large payloads. Payload bytes that are read together with the header must be
/// copied; the rest is received in place.
inline constexpr std::size_t short_receive_size = std::size_t{4} << 10;
inline constexpr std::size_t large_payload = std::size_t{32} << 10;
/// Approximate limit for the number of bytes that one batch of requests transfers. At this limit,
/// the batch is committed even if more requests are waiting in the socket.
inline constexpr std::uint64_t batch_bytes = std::uint64_t{256} << 10;

/// A stream that can be read without waiting.
template <class Stream>
concept readable_at_once = requires(Stream& s, boost::system::error_code& code) {
  s.non_blocking(true, code);
  s.read_some(asio::mutable_buffer(), code);
};

template <class Stream>
class session final : public transmission {
 public:
  /// `shut` closes the connection immediately, in both directions. Called when the client violates
  /// the protocol or no longer accepts replies.
  session(Stream& stream, blk::block_queue& queue, const export_info& exported, session_terms terms,
          std::function<void()> shut, dispatcher_limits limits = {})
      : stream_(stream),
        export_(exported),
        terms_(terms),
        shut_(std::move(shut)),
        dispatcher_(
            queue, terms, [this] { replies_.start(); }, limits),
        replies_(stream, queue.get_executor(), dispatcher_,
                 [this](bool broken) { replied(broken); }),
        changed_(queue.get_executor()) {
    buffer_.resize(receive_buffer_size);
    if constexpr (readable_at_once<Stream>) {
      boost::system::error_code ignored;
      stream_.non_blocking(true, ignored);
    }
  }

  asio::awaitable<std::string> run(std::span<const std::byte> first) override {
    buffer_.resize(std::max(buffer_.size(), first.size()));
    std::memcpy(buffer_.data(), first.data(), first.size());
    end_ = first.size();
    while (reason_.empty()) {
      co_await take_requests();
      if (!reason_.empty()) break;
      if (!receive_at_once()) co_await receive();
    }
    commit();
    while (dispatcher_.in_flight() > 0 || !replies_.is_idle())
      co_await changed_.wait();
    co_return reason_;
  }

  void drain() override {
    if (reason_.empty()) reason_ = "the server is stopping";
    changed_.notify();
    between_requests_.emit(asio::cancellation_type::total);
  }

  void abandon() noexcept override { dispatcher_.abandon(); }
  void reshape(const export_info& info) override { export_ = info; }

  [[nodiscard]] bool disconnect_received() const noexcept override { return disconnect_received_; }
  [[nodiscard]] const connection_statistics& statistics() const override {
    return dispatcher_.statistics();
  }

 private:
  [[nodiscard]] std::size_t buffered() const { return end_ - begin_; }

  void end(std::string reason) {
    if (reason_.empty()) reason_ = std::move(reason);
  }

  /// Begins every complete request in the buffer; waits while too many are in flight.
  asio::awaitable<void> take_requests() {
    while (reason_.empty() && buffered() >= request_size) {
      if (dispatcher_.is_full()) {
        commit();
        while (dispatcher_.is_full() && reason_.empty())
          co_await changed_.wait();
        continue;
      }
      const auto bytes =
          std::span<const std::byte>(buffer_).subspan(begin_).template first<request_size>();
      const auto header = decode_request(bytes);
      if (!header) {
        hang_up("invalid magic number in a request");
        break;
      }
      begin_ += request_size;
      if (header->type == wire::nbd_command::disc) {
        end("the client disconnected");
        disconnect_received_ = true;
        break;
      }
      const auto checked = check_request(*header, export_, terms_);
      if (checked.disconnect) {
        hang_up("the client announced an oversized payload");
        break;
      }
      const bool is_large = checked.payload >= large_payload;
      window_ = is_large ? short_receive_size : receive_buffer_size;
      uncommitted_ += header->length;
      auto* const write_request = dispatcher_.begin(*header, checked);
      if (write_request != nullptr)
        co_await receive_payload(*write_request);
      else if (checked.payload > 0)
        co_await skip(checked.payload);
    }
  }

  void commit() {
    uncommitted_ = 0;
    dispatcher_.commit();
  }

  /// Returns the space for the next bytes.
  asio::mutable_buffer receive_space() {
    // The remaining bytes are the start of an incomplete request header.
    std::memmove(buffer_.data(), buffer_.data() + begin_, buffered());
    end_ -= std::exchange(begin_, 0);
    return {buffer_.data() + end_, std::min(window_, buffer_.size()) - end_};
  }

  /// Reads without waiting, so that no other handler runs in the middle of a batch. Returns 0 if
  /// there is no data yet or if the batch is large enough. The next receive() reports the end of
  /// the stream.
  template <class Buffers>
  std::size_t read_at_once([[maybe_unused]] const Buffers& buffers) {
    if constexpr (readable_at_once<Stream>) {
      if (uncommitted_ >= batch_bytes) return 0;
      boost::system::error_code ignored;
      return stream_.read_some(buffers, ignored);
    } else {
      return 0;
    }
  }

  bool receive_at_once() {
    const auto count = read_at_once(receive_space());
    end_ += count;
    return count > 0;
  }

  asio::awaitable<void> receive() {
    commit();
    const auto space = receive_space();
    const auto [code, count] = co_await stream_.async_read_some(
        space, asio::bind_cancellation_slot(between_requests_.slot(),
                                            asio::as_tuple(asio::use_awaitable)));
    if (code) end("the client closed the connection");
    end_ += count;
  }

  /// Receives the payload of a WRITE: copies the bytes that are already in the buffer, and receives
  /// the rest in place.
  asio::awaitable<void> receive_payload(client_request& request) {
    payload_state state{.wants_more = true};
    while (state.wants_more) {
      space_.clear();
      dispatcher_.payload_space(request, space_);
      std::size_t copied = 0;
      for (auto& stretch : space_) {
        const auto count = std::min(stretch.size(), buffered());
        std::memcpy(stretch.data(), buffer_.data() + begin_, count);
        begin_ += count;
        copied += count;
        stretch = stretch.subspan(count);
        if (!stretch.empty()) break;
      }
      if (copied > 0) {
        state = dispatcher_.payload_received(request, copied);
        continue;
      }
      vectors_.clear();
      for (const auto& stretch : space_)
        vectors_.emplace_back(stretch.data(), stretch.size());
      if (const auto at_once = read_at_once(vectors_); at_once > 0) {
        state = dispatcher_.payload_received(request, at_once);
        continue;
      }
      // The device can process the requests already begun while more bytes arrive.
      commit();
      const auto [code, count] =
          co_await stream_.async_read_some(vectors_, asio::as_tuple(asio::use_awaitable));
      if (count > 0) state = dispatcher_.payload_received(request, count);
      if (code && state.wants_more) {
        end("the client closed the connection in the middle of a write");
        dispatcher_.abandon_payload(request);
        co_return;
      }
    }
    if (state.to_discard > 0) co_await skip(state.to_discard);
  }

  /// Discards the payload of a refused WRITE.
  asio::awaitable<void> skip(std::uint64_t left) {
    window_ = receive_buffer_size;
    for (;;) {
      const auto count = std::min<std::uint64_t>(left, buffered());
      begin_ += static_cast<std::size_t>(count);
      left -= count;
      if (left == 0 || !reason_.empty()) co_return;
      co_await receive();
    }
  }

  void hang_up(std::string reason) {
    end(std::move(reason));
    shut_();
  }

  /// Called after replies were sent or, with `broken`, when the client no longer accepts replies.
  void replied(bool broken) {
    if (broken) hang_up("the client no longer accepts replies");
    changed_.notify();
  }

  Stream& stream_;
  export_info export_;
  session_terms terms_;
  std::function<void()> shut_;
  dispatcher dispatcher_;
  reply_writer<Stream> replies_;
  asio::cancellation_signal between_requests_;
  async::signal changed_;  ///< notified when replies were sent or the session ends
  std::string reason_;
  bool disconnect_received_ = false;

  std::vector<std::byte> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::size_t window_ = receive_buffer_size;  ///< how much of buffer_ to fill, in bytes
  std::uint64_t uncommitted_ = 0;             ///< bytes of requests begun since the last commit
  std::vector<std::span<std::byte>> space_;
  std::vector<asio::mutable_buffer> vectors_;
};

}  // namespace xenpv::nbd
