// A session that serves a fake device over a socketpair. The session runs only in settle().
#pragma once

#include <fcntl.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "dispatcher_rig.hpp"
#include "nbd/session.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::nbd::test {

/// A socket that counts its reads and writes.
class counted_socket {
 public:
  using executor_type = asio::local::stream_protocol::socket::executor_type;
  counted_socket(asio::io_context& context, int fd)
      : socket_(context, asio::local::stream_protocol(), fd) {}

  [[nodiscard]] executor_type get_executor() { return socket_.get_executor(); }
  [[nodiscard]] int native_handle() { return socket_.native_handle(); }
  template <class Buffers, class Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    ++awaited_reads;
    return socket_.async_read_some(buffers, std::forward<Token>(token));
  }
  template <class Buffers, class Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    ++awaited_writes;
    return socket_.async_write_some(buffers, std::forward<Token>(token));
  }
  void non_blocking(bool mode, boost::system::error_code& code) {
    socket_.non_blocking(mode, code);
  }
  template <class Buffers>
  std::size_t read_some(const Buffers& buffers, boost::system::error_code& code) {
    ++reads;
    return socket_.read_some(buffers, code);
  }
  template <class Buffers>
  std::size_t write_some(const Buffers& buffers, boost::system::error_code& code) {
    ++writes;
    return socket_.write_some(buffers, code);
  }
  void close() { socket_.close(); }

  // Each is at least one system call. An operation that waits also passes through the event loop.
  unsigned reads = 0;           ///< that do not wait
  unsigned writes = 0;          ///< that do not wait
  unsigned awaited_reads = 0;   ///< asynchronous operations
  unsigned awaited_writes = 0;  ///< asynchronous operations

 private:
  asio::local::stream_protocol::socket socket_;
};

struct session_options {
  fake_options device{};
  session_terms terms{};
  dispatcher_limits limits{};
  shared_resources shared{};
  std::chrono::nanoseconds progress_limit{};
  std::string first{};  ///< bytes received with the end of the handshake
};

class session_rig {
 public:
  explicit session_rig(session_options options = {})
      : ends_(make_pair()),
        first_(std::move(options.first)),
        stream(context, ends_[0].release()),
        device(std::vector<asio::any_io_executor>{context.get_executor()}, options.device),
        queue(device.queue(0)),
        exported(full_export(options.device.size)),
        served(std::make_unique<session<counted_socket>>(
            stream, queue, exported, options.terms, [this] { shut(); },
            session_limits{options.limits, options.shared, options.progress_limit})) {
    asio::co_spawn(context, served->run(as_bytes(first_)),
                   [this](const std::exception_ptr& problem, std::string why) {
                     ended = problem ? "an exception" : std::move(why);
                   });
  }
  ~session_rig() {
    if (ended) return;
    vanish();
    queue.answers = true;
    queue.answer_all();
    settle();
    EXPECT_TRUE(ended) << "the session does not end";
  }
  session_rig(const session_rig&) = delete;
  session_rig& operator=(const session_rig&) = delete;

  /// Runs until there is no work left.
  void settle() {
    do {
      context.restart();
    } while (context.poll() > 0);
  }
  /// Runs until there is no work left. Returns the number of handlers that ran.
  std::size_t count_handlers() {
    context.restart();
    std::size_t count = 0;
    while (context.poll_one() > 0)
      ++count;
    return count;
  }
  /// Sends as much as the socket accepts. Returns the number of bytes sent.
  std::size_t offer(std::string_view bytes) {
    std::size_t sent = 0;
    while (sent < bytes.size()) {
      const auto count = ::send(client_fd(), bytes.data() + sent, bytes.size() - sent,
                                MSG_NOSIGNAL | MSG_DONTWAIT);
      if (count <= 0) break;
      sent += static_cast<std::size_t>(count);
    }
    return sent;
  }
  /// Sends all bytes while running the session.
  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto sent = offer(bytes);
      settle();
      ASSERT_GT(sent, 0U) << "the session accepts no more data";
      bytes.remove_prefix(sent);
    }
  }
  /// Sends the bytes in parts of `at_once` bytes, and runs the session after each part.
  void trickle(std::string_view bytes, std::size_t at_once = 1) {
    for (; !bytes.empty(); bytes.remove_prefix(std::min(at_once, bytes.size())))
      send(bytes.substr(0, at_once));
  }
  void send_read(std::uint64_t cookie, std::uint64_t offset, std::uint64_t length) {
    expect_data(cookie, length);
    send(read_request(cookie, offset, length));
  }
  void expect_data(std::uint64_t cookie, std::uint64_t length) { reader.reads[cookie] = length; }

  /// Returns the replies received since the last call, in order.
  lines replies() {
    for (;;) {
      settle();
      if (!receive()) return reader.take();
    }
  }
  /// The same, without running the session.
  lines sent_replies() {
    while (receive()) {
    }
    return reader.take();
  }
  /// Receives some bytes. Returns false if there are none now.
  bool receive() {
    std::array<char, 65536> bytes;
    const auto count = ::recv(client_fd(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (count == 0) saw_end = true;
    if (count <= 0) return false;
    reader.feed({bytes.data(), static_cast<std::size_t>(count)});
    return true;
  }
  void half_close() {
    ::shutdown(client_fd(), SHUT_WR);
    settle();
  }
  void vanish() {
    ends_[1].reset();
    settle();
  }
  [[nodiscard]] std::string stored(std::uint64_t offset, std::size_t length) const {
    return as_text(std::span(device.bytes).subspan(offset, length));
  }
  [[nodiscard]] int client_fd() const { return ends_[1].get(); }

 private:
  static std::array<unique_fd, 2> make_pair() {
    std::array<int, 2> fds{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()), 0);
    return {unique_fd(fds[0]), unique_fd(fds[1])};
  }
  void shut() {
    is_shut = true;
    stream.close();
  }

  std::array<unique_fd, 2> ends_;
  std::string first_;

 public:
  asio::io_context context;
  counted_socket stream;
  fake_device device;
  fake_queue& queue;
  export_info exported;
  std::unique_ptr<session<counted_socket>> served;
  reply_reader reader;
  std::optional<std::string> ended;
  bool is_shut = false;  ///< the session closed the connection
  bool saw_end = false;  ///< the client received the end of the stream
};

/// Options for a device whose requests complete only when the test completes them.
inline session_options held(fake_options options = {}) {
  options.answers = false;
  return {.device = options};
}

}  // namespace xenpv::nbd::test
