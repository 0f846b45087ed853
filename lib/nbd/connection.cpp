// The negotiation, on the thread for handshakes. connection_session.cpp contains the rest.
#include "nbd/connection.hpp"

#include <fmt/format.h>
#include <sys/socket.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/write.hpp>
#include <boost/system/system_error.hpp>

#include "xenpv/async/deadline.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::nbd {
namespace {

using ending = handshake_result::ending;

/// How often to check whether a client that waits for a seat has hung up.
constexpr std::chrono::milliseconds wait_check_interval{250};

/// Adds the client's rights without TLS.
negotiation_options with_rights(connection_options& options, const peer_address& address) {
  if (options.permissions) options.haggling.rights = options.permissions->decide(address, {});
  return std::move(options.haggling);
}

bool is_hang_up(const boost::system::error_code& code) {
  return code == asio::error::eof || code == asio::error::connection_reset ||
         code == asio::error::broken_pipe;
}

}  // namespace

connection::connection(std::uint64_t number, unique_fd socket,
                       const asio::any_io_executor& executor, connection_options options)
    : number_(number),
      address_(peer_of_client(socket.get())),
      peer_(options.haggling.agreed_beforehand ? "kernel" : to_string(address_)),
      name_(fmt::format("client {} ({})", number, peer_)),
      listener_(std::move(options.listener)),
      since_(std::chrono::steady_clock::now()),
      protocol_(protocol_of(socket.get())),
      socket_(executor),
      machine_(with_rights(options, address_)),
      credentials_(std::move(options.credentials)),
      permissions_(std::move(options.permissions)),
      authenticated_(std::move(options.authenticated)),
      handshake_limit_(options.handshake_limit),
      progress_limit_(options.progress_limit) {
  socket_->assign(protocol_, socket.get());
  (void)socket.release();
  set_client_options(socket_->native_handle(), progress_limit_);
}

access connection::rights(const tls_identity& identity) const {
  return permissions_ ? permissions_->decide(address_, identity) : access::read_write;
}

asio::awaitable<handshake_result> connection::negotiate() {
  auto result = co_await guard(haggle());
  if (result.end != ending::selected) hang_up();
  co_return result;
}

asio::awaitable<handshake_result> connection::guard(asio::awaitable<handshake_result> part) {
  std::exception_ptr problem;
  try {
    auto limited = async::with_deadline(std::move(part), handshake_limit_, "negotiate an export");
    co_return co_await std::move(limited);
  } catch (...) {
    problem = std::current_exception();
  }
  co_return result_of(problem);
}

handshake_result connection::result_of(const std::exception_ptr& problem) const {
  if (hung_up_) return {ending::cut, "disconnected"};
  std::string reason;
  try {
    std::rethrow_exception(problem);
  } catch (const boost::system::system_error& error) {
    if (is_hang_up(error.code())) return left();
    // what() includes an Asio source location, which does not help the user.
    reason = error.code().message();
  } catch (const std::exception& error) {
    reason = error.what();
  }
  const bool add_phase =
      tls_ && !tls_->engine().is_established() && reason.find("TLS handshake") == std::string::npos;
  return {ending::failed, std::move(reason) + (add_phase ? ", during the TLS handshake" : "")};
}

handshake_result connection::left() const {
  if (!machine_.last_refusal().empty()) {
    // The identity in the form of a rule, because the access list may lack such a rule.
    const auto identity = tls_ ? to_string(tls_->engine().identity()) : std::string();
    return {ending::failed, fmt::format("left after {}{}{}", machine_.last_refusal(),
                                        identity.empty() ? "" : "; it is ", identity)};
  }
  return {ending::left,
          received_anything_ ? "left during the negotiation" : "left without sending anything"};
}

asio::awaitable<handshake_result> connection::haggle() {
  log().debug("{}: connected; negotiating an export", name_);
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
      case negotiation_step::action::admit:
      case negotiation_step::action::transmit:
        co_return handshake_result{ending::selected, {}};
      case negotiation_step::action::close: {
        const bool is_failure = step.is_violation || step.reason.starts_with("NBD_OPT_EXPORT_NAME");
        if (is_failure) co_return handshake_result{ending::failed, step.reason};
        auto result = left();
        if (result.end == ending::left) result.reason = step.reason;
        co_return result;
      }
    }
  }
}

asio::awaitable<void> connection::send(std::string_view bytes) {
  const auto buffer = asio::buffer(bytes);
  if (tls_)
    co_await asio::async_write(*tls_, buffer, asio::use_awaitable);
  else
    co_await asio::async_write(*socket_, buffer, asio::use_awaitable);
}

asio::awaitable<void> connection::receive() {
  std::array<std::byte, 4096> bytes;
  const auto buffer = asio::buffer(bytes);
  if (!tls_) {
    const auto count = co_await socket_->async_read_some(buffer, asio::use_awaitable);
    received_anything_ = true;
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
  tls_ = std::make_unique<tls_stream>(*socket_, credentials_);
  co_await tls_->shake_hands();
  const auto identity = tls_->engine().identity();
  const auto allowed = rights(identity);
  machine_.tls_started(allowed);
  const auto user = to_string(identity);
  log().debug("{}: {}{}{}", name_, tls_->engine().protocol(), user.empty() ? "" : ", ", user);
  const bool is_known = identity.kind != tls_identity::proof::none && allowed != access::none;
  if (is_known && authenticated_) authenticated_();
}

asio::awaitable<seat_answer> connection::wait_for_seat() {
  seat_answered_.emplace(co_await asio::this_coro::executor);
  while (!seat_) {
    if (hung_up_ || has_hung_up(socket_->native_handle())) seat_ = client_gone{};
    if (seat_) break;
    const auto next_check = std::chrono::steady_clock::now() + wait_check_interval;
    co_await seat_answered_->wait_until(next_check);
  }
  seat_answered_.reset();
  if (hung_up_) co_return client_gone{};
  co_return *seat_;
}

void connection::answer_wait(seat_answer answer) {
  if (!seat_) seat_ = std::move(answer);
  if (seat_answered_) seat_answered_->notify();
}

asio::awaitable<handshake_result> connection::accept_choice() {
  machine_.admit();
  auto result = co_await guard(haggle());
  if (result.end == ending::selected) co_return result;
  hang_up();
  co_return result;
}

asio::awaitable<void> connection::refuse_choice(seat_refusal refusal) {
  machine_.refuse(refusal.type, refusal.text);
  const auto step = machine_.next();
  if (step.what == negotiation_step::action::send && !hung_up_) {
    std::exception_ptr ignored;
    try {
      auto sent = async::with_deadline(send(step.bytes), handshake_limit_, "refuse a client");
      co_await std::move(sent);
    } catch (...) {
      // The client left in the meantime.
      ignored = std::current_exception();
    }
  }
  hang_up();
}

void connection::stop_handshake() {
  if (seat_answered_)
    return answer_wait(seat_refusal{wire::nbd_reply::err_shutdown, "the server is shutting down"});
  // Options that have already arrived are answered with NBD_REP_ERR_SHUTDOWN; then the client seems
  // to have left.
  machine_.shut_down();
  boost::system::error_code ignored;
  if (socket_) socket_->shutdown(asio::socket_base::shutdown_receive, ignored);
}

void connection::detach() {
  if (hung_up_) return;
  boost::system::error_code failed;
  detached_.reset(socket_->release(failed));
  socket_.reset();
}

void connection::hang_up() noexcept {
  hung_up_ = true;
  if (session_) session_->abandon();
  // "The party initiating the transaction SHOULD shutdown TLS first" (section "Terminating the
  // session"). Does not wait for the peer's close_notify.
  if (tls_ && socket_) tls_->say_goodbye();
  if (seat_answered_) seat_answered_->notify();
  boost::system::error_code ignored;
  if (detached_) ::shutdown(detached_.get(), SHUT_RDWR);
  if (!socket_) return;
  socket_->shutdown(asio::socket_base::shutdown_both, ignored);
  socket_->close(ignored);
}

}  // namespace xenpv::nbd
