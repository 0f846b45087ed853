// An NBD client that negotiates over TLS with the key of user "alice".
#pragma once

#include <gmock/gmock.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "negotiation_client.hpp"
#include "server_rig.hpp"
#include "tls_client.hpp"
#include "tls_pki.hpp"

namespace xenpv::nbd::test {

class secure_client {
 public:
  explicit secure_client(std::unique_ptr<test_client> plain)
      : plain_(std::move(plain)), tls_(alice()) {}

  [[nodiscard]] test_client& plain() { return *plain_; }

  /// Runs the negotiation from the greeting to the end of the TLS handshake.
  asio::awaitable<void> start() {
    (void)co_await plain_->receive(18);
    co_await plain_->send(flags() + option(wire::nbd_option::starttls));
    EXPECT_EQ(shown_reply(co_await plain_->receive(20)), "NBD_OPT_STARTTLS: NBD_REP_ACK");
    co_await shake_hands();
  }
  asio::awaitable<void> shake_hands() {
    for (;;) {
      const bool done = SSL_do_handshake(tls_.ssl()) == 1;
      co_await plain_->send(tls_.take_output());
      if (done) co_return;
      const auto more = co_await plain_->some();
      if (more.empty()) throw std::runtime_error("the server hung up");
      tls_.give_input(more);
    }
  }
  asio::awaitable<void> send(std::string bytes) {
    tls_.write(bytes);
    co_await plain_->send(tls_.take_output());
  }
  asio::awaitable<std::string> receive(std::size_t size) {
    for (;;) {
      got_ += tls_.read();
      if (got_.size() >= size) break;
      const auto more = co_await plain_->some();
      if (more.empty()) throw std::runtime_error("the server hung up");
      tls_.give_input(more);
    }
    auto out = got_.substr(0, size);
    got_.erase(0, size);
    co_return out;
  }
  /// Receives one option reply and formats it with shown_reply().
  asio::awaitable<std::string> reply() {
    const auto header = co_await receive(20);
    const auto data = co_await receive(number_in(header, 16, 4));
    co_return shown_reply(header + data);
  }
  asio::awaitable<void> go() {
    co_await send(option(wire::nbd_option::go, info("disk")));
    EXPECT_THAT(co_await reply(), ::testing::StartsWith("NBD_OPT_GO: NBD_REP_INFO"));
    EXPECT_EQ(co_await reply(), "NBD_OPT_GO: NBD_REP_ACK");
  }
  /// Receives all bytes until the server closes the connection. Returns the bytes, and whether the
  /// server sent close_notify first.
  asio::awaitable<std::pair<std::string, bool>> rest() {
    tls_.give_input(co_await plain_->rest());
    got_ += tls_.read();
    co_return std::pair(std::exchange(got_, {}), tls_.received_close_notify());
  }
  [[nodiscard]] tls_client& tls() { return tls_; }

 private:
  static tls_client_options alice() {
    tls_client_options out;
    out.user = "alice";
    out.key = unhex(hexadecimal_key('1'));
    return out;
  }

  std::unique_ptr<test_client> plain_;
  tls_client tls_;
  std::string got_;
};

}  // namespace xenpv::nbd::test
