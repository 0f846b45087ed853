// A TLS stream over a socket, for Asio's read and write operations. Hides record boundaries: a read
// returns all plaintext received so far, and a write sends all its records in one call. (Asio's own
// ssl::stream transfers one record per call, which would put each request into a separate batch.)
//
// Owned by a connection; uses the connection's thread and socket. Supports at most one read and one
// write at a time.
#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/compose.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <tuple>
#include <utility>

#include "nbd/tls_engine.hpp"
#include "xenpv/async/asio.hpp"

namespace xenpv::nbd {

class tls_stream {
 public:
  /// Maximum number of bytes to encrypt before sending. Limits memory use and the time for which
  /// encryption occupies the thread.
  static constexpr std::size_t most_at_once = std::size_t{256} << 10;

  using next_layer_type = asio::generic::stream_protocol::socket;
  using executor_type = next_layer_type::executor_type;

  /// `socket` must be connected and must outlive this stream.
  tls_stream(next_layer_type& socket, std::shared_ptr<const tls_credentials> credentials)
      : socket_(socket), engine_(std::move(credentials)) {}

  /// Performs the handshake as the server. Throws `failure` with the reason, whether the client or
  /// the server caused it. Supports terminal cancellation; afterwards the connection can only be
  /// closed.
  [[nodiscard]] asio::awaitable<void> shake_hands();

  /// Sends close_notify, or the alert for a failure, without waiting. Does not send anything if the
  /// socket buffer is full. Call before the socket is closed.
  void say_goodbye() noexcept;

  [[nodiscard]] const tls_engine& engine() const noexcept { return engine_; }
  [[nodiscard]] executor_type get_executor() { return socket_.get_executor(); }
  /// The descriptor of the socket.
  [[nodiscard]] int native_handle() { return socket_.native_handle(); }

  /// Completes with asio::error::eof after close_notify, and also if the client closes the
  /// connection without it: NBD itself marks where a request ends. Supports total cancellation
  /// without data loss.
  template <class Buffers, class Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    return asio::async_compose<Token, void(boost::system::error_code, std::size_t)>(
        read_operation<Buffers>{*this, buffers}, token, socket_);
  }

  /// Reads the data available in the socket or in this stream, without waiting. If there is none,
  /// sets asio::error::would_block. Requires a non-blocking socket.
  template <class Buffers>
  std::size_t read_some(const Buffers& buffers, boost::system::error_code& code);
  void non_blocking(bool mode, boost::system::error_code& code) {
    socket_.non_blocking(mode, code);
  }

  /// Sends at most most_at_once bytes of `buffers`. Supports terminal cancellation; afterwards the
  /// connection can only be closed.
  template <class Buffers, class Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    return asio::async_compose<Token, void(boost::system::error_code, std::size_t)>(
        write_operation<Buffers>{*this, buffers}, token, socket_);
  }

 private:
  template <class Buffers>
  struct read_operation;
  template <class Buffers>
  struct write_operation;

  /// Returns the available plaintext without waiting. If there is none yet, returns a count of 0
  /// without an error.
  template <class Buffers>
  std::pair<boost::system::error_code, std::size_t> take(const Buffers& buffers);
  template <class Buffers>
  std::pair<boost::system::error_code, std::size_t> encrypt(const Buffers& buffers);

  next_layer_type& socket_;
  tls_engine engine_;
  std::vector<std::byte> sending_;
  bool is_sending_ = false;  ///< stays true after a failed send
};

template <class Buffers>
std::pair<boost::system::error_code, std::size_t> tls_stream::take(const Buffers& buffers) {
  std::size_t count = 0;
  for (auto iterator = asio::buffer_sequence_begin(buffers);
       iterator != asio::buffer_sequence_end(buffers); ++iterator) {
    const asio::mutable_buffer space(*iterator);
    const auto result = engine_.read({static_cast<std::byte*>(space.data()), space.size()});
    count += result.count;
    if (result.then == tls_engine::status::done) continue;
    // Return the data that precedes the end; the next read detects the end again.
    if (count > 0 || result.then == tls_engine::status::needs_input) break;
    if (result.then == tls_engine::status::ended) return {asio::error::eof, 0};
    return {make_error_code(boost::system::errc::protocol_error), 0};
  }
  return {{}, count};
}

template <class Buffers>
std::size_t tls_stream::read_some(const Buffers& buffers, boost::system::error_code& code) {
  std::size_t count = 0;
  std::tie(code, count) = take(buffers);
  while (!code && count == 0 && asio::buffer_size(buffers) > 0) {
    const auto space = engine_.input_space();
    const auto size = socket_.read_some(asio::buffer(space.data(), space.size()), code);
    if (code) break;
    engine_.input_received(size);
    std::tie(code, count) = take(buffers);
  }
  return count;
}

template <class Buffers>
std::pair<boost::system::error_code, std::size_t> tls_stream::encrypt(const Buffers& buffers) {
  std::size_t count = 0;
  bool is_good = true;
  for (auto iterator = asio::buffer_sequence_begin(buffers);
       iterator != asio::buffer_sequence_end(buffers); ++iterator) {
    const auto bytes = asio::buffer(asio::const_buffer(*iterator), most_at_once - count);
    is_good = is_good && engine_.write({static_cast<const std::byte*>(bytes.data()), bytes.size()});
    count += bytes.size();
    if (count == most_at_once) break;
  }
  if (!is_good || !engine_.end_write())
    return {make_error_code(boost::system::errc::protocol_error), 0};
  return {{}, count};
}

template <class Buffers>
struct tls_stream::read_operation {
  tls_stream& stream;
  Buffers buffers;
  enum class phase { begin, receiving, ended } progress = phase::begin;
  boost::system::error_code code{};
  std::size_t count = 0;

  template <class Self>
  void operator()(Self& self, boost::system::error_code received = {}, std::size_t size = 0) {
    switch (std::exchange(progress, phase::receiving)) {
      case phase::begin:
        self.reset_cancellation_state(asio::enable_total_cancellation());
        std::tie(code, count) = stream.take(buffers);
        if (!code && count == 0 && asio::buffer_size(buffers) > 0) return receive(self);
        // An operation must not complete within the call that starts it.
        progress = phase::ended;
        return asio::post(stream.get_executor(), std::move(self));
      case phase::receiving:
        if (received) return self.complete(received, 0);
        stream.engine_.input_received(size);
        std::tie(code, count) = stream.take(buffers);
        if (code || count > 0) break;
        // Cancelled in the middle of a record; the partial record stays buffered for the next read.
        if (self.cancelled() == asio::cancellation_type::none) return receive(self);
        code = asio::error::operation_aborted;
        break;
      case phase::ended:
        break;
    }
    self.complete(code, count);
  }

  template <class Self>
  void receive(Self& self) {
    const auto space = stream.engine_.input_space();
    auto& socket = stream.socket_;
    socket.async_read_some(asio::buffer(space.data(), space.size()), std::move(self));
  }
};

template <class Buffers>
struct tls_stream::write_operation {
  tls_stream& stream;
  Buffers buffers;
  enum class phase { begin, sending, failed } progress = phase::begin;
  boost::system::error_code code{};
  std::size_t count = 0;

  template <class Self>
  void operator()(Self& self, boost::system::error_code sent = {}, std::size_t = 0) {
    switch (progress) {
      case phase::begin: {
        std::tie(code, count) = stream.encrypt(buffers);
        progress = code ? phase::failed : phase::sending;
        auto& s = stream;
        if (code) return asio::post(s.get_executor(), std::move(self));
        s.sending_.clear();
        s.sending_.swap(s.engine_.output());
        s.is_sending_ = true;
        return asio::async_write(s.socket_, asio::buffer(s.sending_), std::move(self));
      }
      case phase::sending:
        if (sent) return self.complete(sent, 0);
        stream.is_sending_ = false;
        break;
      case phase::failed:
        break;
    }
    self.complete(code, count);
  }
};

}  // namespace xenpv::nbd
