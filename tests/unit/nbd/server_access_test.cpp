// A server with an access list, with TLS and without, and its replacement while clients are
// connected.
#include <gmock/gmock.h>

#include "negotiation_client.hpp"
#include "secure_client.hpp"
#include "server_rig.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/nbd/listen.hpp"

namespace xenpv::nbd {
namespace {

using namespace test;
using asio::awaitable;
using wire::nbd_option;

std::shared_ptr<const access_list> rules(std::string_view text) {
  return std::make_shared<const access_list>(access_list::parse(text, "rules").value());
}
server_options with_rules(std::string_view text) {
  server_options out;
  out.access = rules(text);
  out.handshake_limit = out.drain_limit = std::chrono::hours(1);
  return out;
}
server_options with_keys(const tls_pki& pki, std::string_view text, tls_mode mode) {
  auto out = with_rules(text);
  pki.write("keys.psk", "alice:" + hexadecimal_key('1'));
  out.tls = mode;
  out.credentials = tls_credentials::from_psk_file(pki.path("keys.psk"));
  return out;
}
constexpr std::uint64_t read_only_flag = 2;

TEST(server_access, a_denied_address_is_disconnected_at_once_and_named_in_the_log) {
  testing::internal::CaptureStderr();
  server_rig(with_rules("allow rw address:192.0.2.0/24\n"))
      .run([](server_rig& rig) -> awaitable<void> {
        for (int i = 0; i < 20; ++i) {
          auto denied = rig.new_client();
          EXPECT_EQ(co_await denied->rest(), "");
        }
        EXPECT_EQ(rig.server->statistics().refused, 20U);
        EXPECT_EQ(rig.server->statistics().connections, 0U);
      });
  const auto log = testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, testing::HasSubstr("unix: refused: the access list denies this address"));
  EXPECT_THAT(log, testing::HasSubstr("19 more clients were refused"));
  EXPECT_LE(std::count(log.begin(), log.end(), '\n'), 2);
}

TEST(server_access, an_address_may_have_read_only_access) {
  server_rig(with_rules("allow ro unix\n")).run([](server_rig& rig) -> awaitable<void> {
    auto client = rig.new_client();
    (void)co_await client->go();
    sent_request write{nbd_command::write, 1, 0, 3};
    EXPECT_EQ(co_await client->ask(write, "abc"), "1 EPERM");
    // A resize does not change the client's rights.
    rig.server->reshape(*rig.device, rig.device->queue(0).shape());
    write.cookie = 2;
    EXPECT_EQ(co_await client->ask(write, "abc"), "2 EPERM");
    sent_request read{nbd_command::read, 3, 0, 512};
    EXPECT_EQ(co_await client->ask(read), "3 data 512");
    const auto all = co_await rig.server->clients();
    EXPECT_TRUE(all.at(0).read_only);
  });
}

TEST(server_access, rules_follow_the_address_of_a_tcp_client) {
  server_rig(with_rules("allow rw address:127.0.0.0/8\n"))
      .run([](server_rig& rig) -> awaitable<void> {
        auto tcp = listen_tcp({"127.0.0.1", "0"});
        auto client = test_client::connect(rig.control(), tcp.front());
        rig.server->listen(std::move(tcp.front()));
        EXPECT_EQ(co_await client->go(), 1U << 20U);
        EXPECT_EQ(co_await rig.new_client()->rest(), "");
      });
}

TEST(server_access, an_identity_decides_after_the_tls_handshake) {
  const tls_pki pki;
  server_rig(with_keys(pki, "allow ro psk:alice\n", tls_mode::require))
      .run([](server_rig& rig) -> awaitable<void> {
        secure_client client(rig.new_client());
        co_await client.start();
        co_await client.send(option(nbd_option::info, info("disk")));
        const auto reply = co_await client.receive(20 + 12);
        EXPECT_NE(number_at(reply, 20 + 2 + 8, 2) & read_only_flag, 0U);
        (void)co_await client.reply();
        co_await client.go();
        co_await rig.until_served(1);
        const auto all = co_await rig.server->clients();
        EXPECT_EQ(all.at(0).identity, "psk:alice");
        EXPECT_TRUE(all.at(0).read_only);
      });
}

TEST(server_access, an_identity_without_access_is_refused_with_the_reason) {
  const tls_pki pki;
  server_rig(with_keys(pki, "allow rw psk:bob\n", tls_mode::require))
      .run([](server_rig& rig) -> awaitable<void> {
        secure_client client(rig.new_client());
        co_await client.start();
        co_await client.send(option(nbd_option::list));
        EXPECT_EQ(co_await client.reply(),
                  "NBD_OPT_LIST: NBD_REP_ERR_POLICY the server's access list denies access");
      });
}

TEST(server_access, identity_rules_never_apply_to_plaintext_clients) {
  const tls_pki pki;
  server_rig(with_keys(pki, "allow rw psk:*\n", tls_mode::on))
      .run([](server_rig& rig) -> awaitable<void> {
        auto plain = rig.new_client();
        (void)co_await plain->receive(18);
        co_await plain->send(flags() + option(nbd_option::go, info("disk")));
        const std::string text = "the server's access list denies access";
        EXPECT_EQ(shown_reply(co_await plain->receive(20 + text.size())),
                  "NBD_OPT_GO: NBD_REP_ERR_POLICY " + text);
        secure_client client(rig.new_client());
        co_await client.start();
        co_await client.go();
      });
}

TEST(server_access, a_new_list_applies_to_new_clients_and_connected_ones_stay) {
  server_rig(with_rules("allow rw unix\n")).run([](server_rig& rig) -> awaitable<void> {
    auto connected = rig.new_client();
    (void)co_await connected->go();
    rig.server->set_access(rules("allow rw address:192.0.2.1\n"));
    EXPECT_EQ(co_await rig.new_client()->rest(), "");
    sent_request write{nbd_command::write, 1, 0, 3};
    EXPECT_EQ(co_await connected->ask(write, "abc"), "1 ok");
    rig.server->set_access(nullptr);
    EXPECT_EQ(co_await rig.new_client()->go(), 1U << 20U);
  });
}

TEST(server_access, new_credentials_apply_to_new_clients_and_connected_ones_stay) {
  const tls_pki pki;
  server_rig(with_keys(pki, "allow rw psk:*\n", tls_mode::require))
      .run([&pki](server_rig& rig) -> awaitable<void> {
        secure_client connected(rig.new_client());
        co_await connected.start();
        co_await connected.go();
        pki.write("other.psk", "alice:" + hexadecimal_key('2'));
        rig.server->set_credentials(tls_credentials::from_psk_file(pki.path("other.psk")));
        co_await connected.send(read_request(1, 0, 512));
        EXPECT_EQ((co_await connected.receive(16 + 512)).size(), 528U);
        secure_client late(rig.new_client());
        bool was_refused = false;
        try {
          co_await late.start();
          co_await late.send(option(nbd_option::list));
          (void)co_await late.reply();
        } catch (const std::exception&) {
          was_refused = true;
        }
        EXPECT_TRUE(was_refused);
        EXPECT_THROW(rig.server->set_credentials(nullptr), failure);
      });
}

}  // namespace
}  // namespace xenpv::nbd
