#include "nbd/tls_stream.hpp"

#include <sys/socket.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include "xenpv/base/error.hpp"

namespace xenpv::nbd {
namespace {

[[noreturn]] void fail(errc code, std::string text) {
  throw failure(error{make_error_code(code), std::move(text)});
}

}  // namespace

asio::awaitable<void> tls_stream::shake_hands() {
  for (;;) {
    const auto status = engine_.shake_hands();
    // An alert may be pending: say_goodbye() sends it.
    if (status == tls_engine::status::failed) fail(errc::protocol_violation, engine_.problem());
    if (status == tls_engine::status::ended) fail(errc::lost_connection, engine_.explain_hang_up());
    if (!engine_.output().empty()) {
      sending_.clear();
      sending_.swap(engine_.output());
      is_sending_ = true;
      co_await asio::async_write(socket_, asio::buffer(sending_), asio::use_awaitable);
      is_sending_ = false;
    }
    if (status == tls_engine::status::done) co_return;
    const auto space = engine_.input_space();
    const auto buffer = asio::buffer(space.data(), space.size());
    const auto [code, count] =
        co_await socket_.async_read_some(buffer, asio::as_tuple(asio::use_awaitable));
    if (code == asio::error::eof || code == asio::error::connection_reset)
      fail(errc::lost_connection, engine_.explain_hang_up());
    if (code) throw boost::system::system_error(code);
    engine_.input_received(count);
  }
}

void tls_stream::say_goodbye() noexcept {
  // The client could not decode an alert in the middle of a record.
  if (is_sending_ || !socket_.is_open()) return;
  engine_.say_goodbye();
  const auto& rest = engine_.output();
  if (rest.empty()) return;
  (void)::send(socket_.native_handle(), rest.data(), rest.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  engine_.output().clear();
}

}  // namespace xenpv::nbd
