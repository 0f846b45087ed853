// A server with TLS, from NBD_OPT_STARTTLS to close_notify.
#include <gmock/gmock.h>

#include "negotiation_client.hpp"
#include "secure_client.hpp"
#include "server_rig.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::nbd {
namespace {

using namespace test;
using asio::awaitable;
using wire::nbd_option;

server_options with_tls(const tls_pki& pki, tls_mode mode = tls_mode::require) {
  pki.write("keys.psk", "alice:" + hexadecimal_key('1'));
  server_options out;
  out.tls = mode;
  out.credentials = tls_credentials::from_psk_file(pki.path("keys.psk"));
  out.drain_limit = out.handshake_limit = std::chrono::hours(1);
  return out;
}

TEST(tls_server, needs_credentials) {
  asio::io_context context(1);
  fake_device device({context.get_executor()});
  for (const auto mode : {tls_mode::on, tls_mode::require}) {
    server_options settings;
    settings.tls = mode;
    try {
      const server refused(context.get_executor(), settings);
      FAIL() << "not refused";
    } catch (const failure& problem) {
      EXPECT_STREQ(problem.what(),
                   "serve over TLS: invalid argument (certificates or pre-shared keys are "
                   "required)");
    }
  }
}

TEST(tls_server, serves_over_tls_and_reports_the_user) {
  const tls_pki pki;
  server_rig(with_tls(pki)).run([](server_rig& rig) -> awaitable<void> {
    const auto bytes = pattern(1U << 20U);
    std::memcpy(rig.device->bytes.data(), bytes.data(), bytes.size());
    secure_client client(rig.new_client());
    co_await client.start();
    co_await client.go();
    const std::size_t size = 700'000;  // more than is encrypted at once
    co_await client.send(read_request(7, 1000, size));
    const auto reply = co_await client.receive(16 + size);
    EXPECT_EQ(hex(reply.substr(0, 16)),
              "67446698"
              "00000000"
              "0000000000000007");
    EXPECT_TRUE(reply.substr(16) == bytes.substr(1000, size));
    const auto all = co_await rig.server->clients();
    EXPECT_EQ(all.at(0).tls, "TLSv1.3 TLS_AES_128_GCM_SHA256");
    EXPECT_EQ(all.at(0).user, "alice");
    co_await client.send(request({nbd_command::disc}));
    const auto [more, closed] = co_await client.rest();
    EXPECT_EQ(more, "");
    EXPECT_TRUE(closed);
  });
}

TEST(tls_server, commits_requests_of_many_records_once) {
  const tls_pki pki;
  server_rig(with_tls(pki)).run([](server_rig& rig) -> awaitable<void> {
    secure_client client(rig.new_client());
    co_await client.start();
    co_await client.go();
    std::string all;
    for (unsigned i = 0; i < 16; ++i) {
      client.tls().write(read_request(i, i * 4096, 4096));
      all += client.tls().take_output();
    }
    co_await client.plain().send(all);
    (void)co_await client.receive(16 * (16 + 4096));
    auto batches = [&] { return rig.device->queue(0).batches; };
    EXPECT_THAT(co_await rig.on_queue(0, batches), ::testing::ElementsAre(16));
  });
}

TEST(tls_server, discards_the_plaintext_negotiation) {
  const tls_pki pki;
  server_rig(with_tls(pki, tls_mode::on)).run([](server_rig& rig) -> awaitable<void> {
    secure_client client(rig.new_client());
    auto& plain = client.plain();
    (void)co_await plain.receive(18);
    co_await plain.send(flags() + option(nbd_option::structured_reply));
    EXPECT_EQ(shown_reply(co_await plain.receive(20)), "NBD_OPT_STRUCTURED_REPLY: NBD_REP_ACK");
    co_await plain.send(option(nbd_option::starttls));
    (void)co_await plain.receive(20);
    co_await client.shake_hands();
    co_await client.go();
    co_await client.send(read_request(7, 0, 512));
    EXPECT_EQ(hex((co_await client.receive(16 + 512)).substr(0, 4)), "67446698")
        << "not a simple reply";
  });
}

TEST(tls_server, accepts_no_plaintext_after_starttls) {
  const tls_pki pki;
  server_rig(with_tls(pki)).run([](server_rig& rig) -> awaitable<void> {
    const auto starttls = option(nbd_option::starttls);
    const auto injected = option(nbd_option::structured_reply);
    auto at_once = rig.new_client();
    (void)co_await at_once->receive(18);
    co_await at_once->send(flags() + starttls + injected);
    EXPECT_EQ(co_await at_once->rest(), "");

    auto later = rig.new_client();
    (void)co_await later->receive(18);
    co_await later->send(flags() + starttls);
    (void)co_await later->receive(20);
    co_await later->send(injected);
    EXPECT_EQ(co_await later->rest(), "");
  });
}

TEST(tls_server, limits_the_duration_of_the_tls_handshake) {
  const tls_pki pki;
  auto settings = with_tls(pki);
  settings.handshake_limit = std::chrono::milliseconds(50);
  server_rig(settings).run([](server_rig& rig) -> awaitable<void> {
    secure_client client(rig.new_client());
    (void)co_await client.plain().receive(18);
    co_await client.plain().send(flags() + option(nbd_option::starttls));
    (void)co_await client.plain().receive(20);
    (void)SSL_do_handshake(client.tls().ssl());
    co_await client.plain().send(client.tls().take_output().substr(0, 100));
    EXPECT_EQ(co_await client.plain().rest(), "");
    auto gone = [&] { return rig.server->statistics().failed_handshakes == 1; };
    co_await rig.until(gone);
  });
}

TEST(tls_server, answers_requests_in_flight_and_sends_close_notify_when_it_stops) {
  const tls_pki pki;
  server_rig(with_tls(pki), {.answers = false}).run([](server_rig& rig) -> awaitable<void> {
    secure_client busy(rig.new_client());
    co_await busy.start();
    co_await busy.go();
    secure_client idle(rig.new_client());
    co_await idle.start();
    co_await idle.go();
    for (unsigned i = 0; i < 3; ++i)
      co_await busy.send(read_request(i, 0, 512));
    co_await rig.until_waiting(0, 3);
    stopping stop(rig);
    const auto [nothing, notified] = co_await idle.rest();
    EXPECT_EQ(nothing, "");
    EXPECT_TRUE(notified);
    EXPECT_FALSE(stop.is_over());
    co_await rig.answer_all(0);
    const auto [replies, closed] = co_await busy.rest();
    EXPECT_EQ(replies.size(), 3 * (16 + 512U));
    EXPECT_TRUE(closed);
    co_await stop.wait();
  });
}

TEST(tls_server, survives_clients_that_disconnect_during_the_tls_handshake) {
  const tls_pki pki;
  server_rig(with_tls(pki)).run([](server_rig& rig) -> awaitable<void> {
    const std::array<std::size_t, 4> sizes = {0, 1, 5, 100};
    for (const auto size : sizes) {
      secure_client client(rig.new_client());
      (void)co_await client.plain().receive(18);
      co_await client.plain().send(flags() + option(nbd_option::starttls));
      (void)co_await client.plain().receive(20);
      (void)SSL_do_handshake(client.tls().ssl());
      co_await client.plain().send(client.tls().take_output().substr(0, size));
    }
    auto gone = [&] { return rig.server->statistics().failed_handshakes == 4; };
    co_await rig.until(gone);
    secure_client other(rig.new_client());
    co_await other.start();
    co_await other.go();
  });
}

}  // namespace
}  // namespace xenpv::nbd
