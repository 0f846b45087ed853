// One connection in its transmission phase: requests from a stream into a dispatcher, its replies
// back. All complete requests of a buffer are begun before the device is told; replies that are
// ready leave in one gathered write; large payloads go straight into the device's pages.
//
// On the thread of its queue. `Stream` is a socket or a TLS stream over one. Knows neither
// listening nor option haggling (server.hpp).
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

#include "nbd/reply_writer.hpp"
#include "nbd/transmission.hpp"

namespace xenpv::nbd {

namespace asio = boost::asio;

/// Bytes of requests and small payloads read at once.
inline constexpr std::size_t receive_buffer_size = std::size_t{128} << 10;
/// The same while payloads are large: what is read with the header is copied, what comes after it
/// is received in place.
inline constexpr std::size_t short_receive_size = std::size_t{4} << 10;
inline constexpr std::size_t large_payload = std::size_t{32} << 10;
/// Bytes that requests of one batch ask to be moved, more or less: when that many are begun, the
/// device is told, even if more requests are waiting in the socket.
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
  /// `shut` ends the connection at once, both ways: the client has broken the protocol or stays
  /// mute.
  session(Stream& stream, blk::block_queue& queue, const export_info& on, session_terms terms,
          std::function<void()> shut, dispatcher_limits limits = {})
      : stream_(stream),
        export_(on),
        terms_(terms),
        shut_(std::move(shut)),
        replies_(stream, queue.executor(), dispatcher_, [this](bool broken) { replied(broken); }),
        dispatcher_(queue, on, terms, replies_, limits),
        changed_(queue.executor(), std::chrono::steady_clock::time_point::max()) {
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
      co_await changed();
    co_return reason_;
  }

  void drain() override {
    if (reason_.empty()) reason_ = "the server stops";
    changed_.cancel();
    between_requests_.emit(asio::cancellation_type::total);
  }

  void abandon() noexcept override { dispatcher_.abandon(); }
  void reshape(const export_info& now) override { export_ = now; }

  [[nodiscard]] bool said_goodbye() const noexcept override { return said_goodbye_; }
  [[nodiscard]] const connection_statistics& statistics() const override {
    return dispatcher_.statistics();
  }

 private:
  asio::awaitable<void> changed() {
    changed_.expires_at(std::chrono::steady_clock::time_point::max());
    (void)co_await changed_.async_wait(asio::as_tuple(asio::use_awaitable));
  }

  [[nodiscard]] std::size_t buffered() const { return end_ - begin_; }

  void end(std::string why) {
    if (reason_.empty()) reason_ = std::move(why);
  }

  /// Begins every request that is complete in the buffer; waits while too many are in flight.
  asio::awaitable<void> take_requests() {
    while (reason_.empty() && buffered() >= request_size) {
      if (dispatcher_.is_full()) {
        commit();
        while (dispatcher_.is_full() && reason_.empty())
          co_await changed();
        continue;
      }
      const auto at =
          std::span<const std::byte>(buffer_).subspan(begin_).template first<request_size>();
      const auto header = decode_request(at);
      if (!header) {
        hang_up("the client's request has a wrong magic");
        break;
      }
      begin_ += request_size;
      if (header->type == wire::nbd_command::disc) {
        end("the client disconnected");
        said_goodbye_ = true;
        break;
      }
      const auto judged = check_request(*header, export_, terms_);
      if (judged.disconnect) {
        hang_up("the client announced a payload that nobody can want");
        break;
      }
      const bool is_large = judged.payload >= large_payload;
      window_ = is_large ? short_receive_size : receive_buffer_size;
      uncommitted_ += header->length;
      auto* const writing = dispatcher_.begin(*header, judged);
      if (writing != nullptr)
        co_await receive_payload(*writing);
      else if (judged.payload > 0)
        co_await skip(judged.payload);
    }
  }

  void commit() {
    uncommitted_ = 0;
    dispatcher_.commit();
  }

  /// Where the next bytes go.
  asio::mutable_buffer receive_space() {
    // What is left is the start of a request: shorter than any header.
    std::memmove(buffer_.data(), buffer_.data() + begin_, buffered());
    end_ -= std::exchange(begin_, 0);
    return {buffer_.data() + end_, std::min(window_, buffer_.size()) - end_};
  }

  /// Without waiting, and without a turn in which others would see half a batch. 0: there is
  /// nothing now, or the batch is large enough; an end of the stream shows in the next receive().
  template <class Buffers>
  std::size_t read_at_once([[maybe_unused]] const Buffers& into) {
    if constexpr (readable_at_once<Stream>) {
      if (uncommitted_ >= batch_bytes) return 0;
      boost::system::error_code nothing;
      return stream_.read_some(into, nothing);
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
    if (code) end("the client hung up");
    end_ += count;
  }

  /// The bytes of a WRITE: those in the buffer are copied, the others are received in place.
  asio::awaitable<void> receive_payload(operation& op) {
    payload_state state{.wants_more = true};
    while (state.wants_more) {
      space_.clear();
      dispatcher_.payload_space(op, space_);
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
        state = dispatcher_.payload_received(op, copied);
        continue;
      }
      vectors_.clear();
      for (const auto& stretch : space_)
        vectors_.emplace_back(stretch.data(), stretch.size());
      if (const auto at_once = read_at_once(vectors_); at_once > 0) {
        state = dispatcher_.payload_received(op, at_once);
        continue;
      }
      // While this client's bytes come in, those of its requests that are begun can be worked on.
      commit();
      const auto [code, count] =
          co_await stream_.async_read_some(vectors_, asio::as_tuple(asio::use_awaitable));
      if (count > 0) state = dispatcher_.payload_received(op, count);
      if (code && state.wants_more) {
        end("the client hung up in the middle of a write");
        dispatcher_.abandon_payload(op);
        co_return;
      }
    }
    if (state.unwanted > 0) co_await skip(state.unwanted);
  }

  /// The payload of a refused WRITE: not a request, and not kept.
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

  void hang_up(std::string why) {
    end(std::move(why));
    shut_();
  }

  /// Replies are out, or nobody takes them.
  void replied(bool broken) {
    if (broken) hang_up("the client takes no more replies");
    changed_.cancel();
  }

  Stream& stream_;
  export_info export_;
  session_terms terms_;
  std::function<void()> shut_;
  reply_writer<Stream> replies_;
  dispatcher dispatcher_;
  asio::cancellation_signal between_requests_;
  asio::steady_timer changed_;  ///< never expires; cancelled when somebody should look again
  std::string reason_;
  bool said_goodbye_ = false;

  std::vector<std::byte> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::size_t window_ = receive_buffer_size;  ///< of buffer_, to receive into
  std::uint64_t uncommitted_ = 0;             ///< bytes of requests begun since the last commit
  std::vector<std::span<std::byte>> space_;
  std::vector<asio::mutable_buffer> vectors_;
};

}  // namespace xenpv::nbd
