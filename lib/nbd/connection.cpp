#include "nbd/connection.hpp"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <boost/system/system_error.hpp>

#include "xenpv/async/deadline.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::nbd {
namespace {

/// Returns the socket's protocol, which Asio requires to adopt the socket.
asio::generic::stream_protocol protocol_of(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    throw_errno("adopt a client's socket");
  return {address.ss_family, 0};
}

std::string describe_peer(client_socket& socket) {
  boost::system::error_code ignored;
  const auto endpoint = socket.remote_endpoint(ignored);
  if (ignored || endpoint.protocol().family() == AF_UNIX) return "unix";
  asio::ip::tcp::endpoint address;
  address.resize(endpoint.size());
  std::memcpy(address.data(), endpoint.data(), endpoint.size());
  const auto host = address.address().to_string();
  return address.address().is_v6() ? fmt::format("[{}]:{}", host, address.port())
                                   : fmt::format("{}:{}", host, address.port());
}

/// Time limit for delivering the last replies to a client that keeps sending.
constexpr std::chrono::seconds linger_limit{2};
constexpr std::chrono::milliseconds linger_step{5};

/// Whether written bytes are still unsent or unacknowledged. False for a closed socket.
bool has_unsent(client_socket& socket) {
  int bytes = 0;
  return ::ioctl(socket.native_handle(), TIOCOUTQ, &bytes) == 0 && bytes > 0;
}

/// Discards received bytes, up to a limit, so that a client that keeps sending cannot hold it up.
void discard_input(client_socket& socket) {
  std::array<std::byte, 16384> bytes;
  for (int i = 0; i < 64; ++i)
    if (::recv(socket.native_handle(), bytes.data(), bytes.size(), MSG_DONTWAIT) <= 0) return;
}

}  // namespace

connection::connection(std::uint64_t number, unique_fd socket, blk::block_queue& queue,
                       std::size_t queue_index, connection_options options)
    : number_(number),
      queue_(queue),
      queue_index_(queue_index),
      peer_(options.haggling.agreed_beforehand ? "kernel" : ""),
      socket_(queue.get_executor()),
      machine_(std::move(options.haggling)),
      credentials_(std::move(options.credentials)),
      handshake_limit_(options.handshake_limit) {
  const auto protocol = protocol_of(socket.get());
  socket_.assign(protocol, socket.get());
  (void)socket.release();
  if (protocol.family() == AF_UNIX) {
    // Allow a 1 MiB batch of replies to be sent in one iteration of the event loop; the default
    // buffer holds 200 KiB.
    boost::system::error_code ignored;
    socket_.set_option(asio::socket_base::send_buffer_size(1 << 20), ignored);
  } else {
    // Replies are already gathered; waiting for more would only delay them.
    const int enable = 1;
    ::setsockopt(socket_.native_handle(), IPPROTO_TCP, TCP_NODELAY, &enable, sizeof enable);
    ::setsockopt(socket_.native_handle(), SOL_SOCKET, SO_KEEPALIVE, &enable, sizeof enable);
  }
  if (peer_.empty()) peer_ = describe_peer(socket_);
}

asio::awaitable<bool> connection::run() {
  bool agreed = false;
  try {
    auto limited = async::with_deadline(haggle(), handshake_limit_, "negotiate an export");
    agreed = co_await std::move(limited);
    if (agreed) co_await serve();
  } catch (const boost::system::system_error& problem) {
    // what() includes an Asio source location, which does not help the user.
    report(problem.code().message());
  } catch (const std::exception& problem) {
    report(problem.what());
  }
  hang_up();
  co_return agreed;
}

void connection::report(std::string_view problem) const {
  const bool add_phase = tls_ && !tls_->engine().is_established() &&
                         problem.find("TLS handshake") == std::string_view::npos;
  log().info("client {} ({}): {}{}", number_, peer_, problem,
             add_phase ? ", during the TLS handshake" : "");
}

asio::awaitable<bool> connection::haggle() {
  for (;;) {
    const auto step = machine_.next();
    switch (step.what) {
      case negotiation_step::action::send:
        co_await send(step.bytes);
        break;
      case negotiation_step::action::read_more:
        co_await receive();
        break;
      case negotiation_step::action::start_tls:
        co_await start_tls();
        break;
      case negotiation_step::action::transmit:
        co_return true;
      case negotiation_step::action::close:
        if (!step.reason.empty()) log().info("client {} ({}): {}", number_, peer_, step.reason);
        co_return false;
    }
  }
}

asio::awaitable<void> connection::send(std::string_view bytes) {
  const auto buffer = asio::buffer(bytes);
  if (tls_)
    co_await asio::async_write(*tls_, buffer, asio::use_awaitable);
  else
    co_await asio::async_write(socket_, buffer, asio::use_awaitable);
}

asio::awaitable<void> connection::receive() {
  std::array<std::byte, 4096> bytes;
  const auto buffer = asio::buffer(bytes);
  if (!tls_) {
    const auto count = co_await socket_.async_read_some(buffer, asio::use_awaitable);
    machine_.feed(std::span(bytes).first(count));
    co_return;
  }
  const auto [code, count] =
      co_await tls_->async_read_some(buffer, asio::as_tuple(asio::use_awaitable));
  // Some clients verify the certificate only after the handshake, and then close the connection
  // without an alert.
  if (code == asio::error::eof && !received_through_tls_)
    throw failure(error{make_error_code(errc::lost_connection), tls_->engine().explain_hang_up()});
  if (code) throw boost::system::system_error(code);
  received_through_tls_ = true;
  machine_.feed(std::span(bytes).first(count));
}

asio::awaitable<void> connection::start_tls() {
  tls_ = std::make_unique<tls_stream>(socket_, credentials_);
  co_await tls_->shake_hands();
  machine_.tls_started();
  const auto user = tls_->engine().user();
  log().debug("client {} ({}): {}{}{}", number_, peer_, tls_->engine().protocol(),
              user.empty() ? "" : ", ", user);
}

std::unique_ptr<transmission> connection::make_session() {
  auto shut = [this] { hang_up(); };
  const auto& exported = machine_.agreed_export();
  const auto terms = machine_.agreed().terms();
  if (tls_) return std::make_unique<session<tls_stream>>(*tls_, queue_, exported, terms, shut);
  return std::make_unique<session<client_socket>>(socket_, queue_, exported, terms, shut);
}

asio::awaitable<void> connection::serve() {
  session_ = make_session();
  if (new_export_) session_->reshape(*new_export_);
  if (draining_) session_->drain();
  log().debug("client {} ({}): uses export '{}' on queue {}", number_, peer_,
              machine_.agreed_export().name, queue_index_);
  const auto reason = co_await session_->run(machine_.rest());
  if (tls_ && !tls_->engine().problem().empty()) report(tls_->engine().problem());
  log().debug("client {} ({}): {}", number_, peer_, reason);
  if (tls_) tls_->say_goodbye();
  co_await linger();
}

/// Closing a TCP socket with unread requests would reset the connection and lose replies that are
/// still in flight.
asio::awaitable<void> connection::linger() {
  boost::system::error_code failed;
  socket_.shutdown(asio::socket_base::shutdown_send, failed);
  if (failed || socket_.local_endpoint(failed).protocol().family() == AF_UNIX) co_return;
  asio::steady_timer timer(co_await asio::this_coro::executor);
  const auto limit = std::chrono::steady_clock::now() + linger_limit;
  for (;;) {
    discard_input(socket_);
    if (!has_unsent(socket_) || std::chrono::steady_clock::now() > limit) co_return;
    timer.expires_after(linger_step);
    co_await timer.async_wait(asio::use_awaitable);
  }
}

void connection::drain() {
  draining_ = true;
  machine_.shut_down();
  if (session_) session_->drain();
}

void connection::hang_up() noexcept {
  if (session_) session_->abandon();
  // "The party initiating the transaction SHOULD shutdown TLS first" (section "Terminating the
  // session"). Does not wait for the peer's close_notify.
  if (tls_) tls_->say_goodbye();
  boost::system::error_code ignored;
  socket_.shutdown(asio::socket_base::shutdown_both, ignored);
  socket_.close(ignored);
}

void connection::reshape(const export_info& info) {
  new_export_ = info;
  if (session_) session_->reshape(info);
}

client_statistics connection::statistics() const {
  client_statistics out;
  out.number = number_;
  out.peer = peer_;
  out.queue = queue_index_;
  if (tls_) {
    out.tls = tls_->engine().protocol();
    out.user = tls_->engine().user();
  }
  if (!session_) return out;
  const auto& counters = session_->statistics();
  out.requests = counters.requests;
  out.errors = counters.errors;
  out.bytes_read = counters.bytes_read;
  out.bytes_written = counters.bytes_written;
  out.from_heap = counters.from_heap;
  return out;
}

}  // namespace xenpv::nbd
