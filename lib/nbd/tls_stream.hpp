// A socket that speaks TLS, as Asio's read and write operations want one. What a record holds is
// none of their business: a read gives all the plaintext that has come, a write sends all its
// records at once. (Asio's own ssl::stream moves one record a call, which would make a batch of
// each request.)
//
// Owned by its connection, on its thread; refers to the connection's socket. At most one read and
// one write at a time.
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

namespace asio = boost::asio;

class tls_stream {
 public:
  /// What is encrypted before it is sent: bounds the memory for it, and for how long a thread does
  /// nothing else.
  static constexpr std::size_t most_at_once = std::size_t{256} << 10;

  using next_layer_type = asio::generic::stream_protocol::socket;
  using executor_type = next_layer_type::executor_type;

  /// `socket` is connected, and outlives this.
  tls_stream(next_layer_type& socket, std::shared_ptr<const tls_credentials> how)
      : socket_(socket), engine_(std::move(how)) {}

  /// As the server. Throws `failure` with what the client or we have against it. Cancellation:
  /// terminal, after which only hanging up is left.
  [[nodiscard]] asio::awaitable<void> shake_hands();

  /// Tells the client, without waiting for anything, that nothing more comes, or why it failed; if
  /// the socket has no room for that, it is not told. To be called before the socket is closed.
  void say_goodbye() noexcept;

  [[nodiscard]] const tls_engine& engine() const noexcept { return engine_; }
  [[nodiscard]] executor_type get_executor() { return socket_.get_executor(); }

  /// Ends with asio::error::eof when the client has said that nothing more comes; one that is gone
  /// without a word looks the same, as NBD knows itself where a request ends. Cancellation: total;
  /// nothing is lost.
  template <class Buffers, class Token>
  auto async_read_some(const Buffers& into, Token&& token) {
    return asio::async_compose<Token, void(boost::system::error_code, std::size_t)>(
        read_operation<Buffers>{*this, into}, token, socket_);
  }

  /// What is there without waiting, in the socket or in here; else asio::error::would_block. For a
  /// socket that does not block.
  template <class Buffers>
  std::size_t read_some(const Buffers& into, boost::system::error_code& code);
  void non_blocking(bool mode, boost::system::error_code& code) {
    socket_.non_blocking(mode, code);
  }

  /// Takes most_at_once bytes of `from` at most. Cancellation: terminal, after which only hanging
  /// up is left.
  template <class Buffers, class Token>
  auto async_write_some(const Buffers& from, Token&& token) {
    return asio::async_compose<Token, void(boost::system::error_code, std::size_t)>(
        write_operation<Buffers>{*this, from}, token, socket_);
  }

 private:
  template <class Buffers>
  struct read_operation;
  template <class Buffers>
  struct write_operation;

  /// What there is, without waiting. Count and error are both unset when there is nothing yet.
  template <class Buffers>
  std::pair<boost::system::error_code, std::size_t> take(const Buffers& into);
  template <class Buffers>
  std::pair<boost::system::error_code, std::size_t> encrypt(const Buffers& from);

  next_layer_type& socket_;
  tls_engine engine_;
  std::vector<std::byte> sending_;
  bool is_sending_ = false;  ///< or has failed to
};

template <class Buffers>
std::pair<boost::system::error_code, std::size_t> tls_stream::take(const Buffers& into) {
  std::size_t count = 0;
  for (auto at = asio::buffer_sequence_begin(into); at != asio::buffer_sequence_end(into); ++at) {
    const asio::mutable_buffer space(*at);
    const auto got = engine_.read({static_cast<std::byte*>(space.data()), space.size()});
    count += got.count;
    if (got.then == tls_engine::status::done) continue;
    // What came before the end is given first; the end is found again.
    if (count > 0 || got.then == tls_engine::status::needs_input) break;
    if (got.then == tls_engine::status::ended) return {asio::error::eof, 0};
    return {make_error_code(boost::system::errc::protocol_error), 0};
  }
  return {{}, count};
}

template <class Buffers>
std::size_t tls_stream::read_some(const Buffers& into, boost::system::error_code& code) {
  std::size_t count = 0;
  std::tie(code, count) = take(into);
  while (!code && count == 0 && asio::buffer_size(into) > 0) {
    const auto space = engine_.input_space();
    const auto size = socket_.read_some(asio::buffer(space.data(), space.size()), code);
    if (code) break;
    engine_.input_received(size);
    std::tie(code, count) = take(into);
  }
  return count;
}

template <class Buffers>
std::pair<boost::system::error_code, std::size_t> tls_stream::encrypt(const Buffers& from) {
  std::size_t count = 0;
  bool is_good = true;
  for (auto at = asio::buffer_sequence_begin(from); at != asio::buffer_sequence_end(from); ++at) {
    const auto bytes = asio::buffer(asio::const_buffer(*at), most_at_once - count);
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
  Buffers into;
  enum class phase { begin, receiving, ended } at = phase::begin;
  boost::system::error_code code{};
  std::size_t count = 0;

  template <class Self>
  void operator()(Self& self, boost::system::error_code received = {}, std::size_t size = 0) {
    switch (std::exchange(at, phase::receiving)) {
      case phase::begin:
        self.reset_cancellation_state(asio::enable_total_cancellation());
        std::tie(code, count) = stream.take(into);
        if (!code && count == 0 && asio::buffer_size(into) > 0) return receive(self);
        // Never from within the call that begins the operation.
        at = phase::ended;
        return asio::post(stream.get_executor(), std::move(self));
      case phase::receiving:
        if (received) return self.complete(received, 0);
        stream.engine_.input_received(size);
        std::tie(code, count) = stream.take(into);
        if (code || count > 0) break;
        // Cancelled when the start of a record had come already: it waits for the next read.
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
  Buffers from;
  enum class phase { begin, sending, failed } at = phase::begin;
  boost::system::error_code code{};
  std::size_t count = 0;

  template <class Self>
  void operator()(Self& self, boost::system::error_code sent = {}, std::size_t = 0) {
    switch (at) {
      case phase::begin: {
        std::tie(code, count) = stream.encrypt(from);
        at = code ? phase::failed : phase::sending;
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
