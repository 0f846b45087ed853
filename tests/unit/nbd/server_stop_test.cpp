// Stopping a server, which drains its clients within the configured limits.
#include <gtest/gtest.h>

#include "negotiation_client.hpp"
#include "server_rig.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/nbd/listen.hpp"

namespace xenpv::nbd {
namespace {

using namespace test;
using namespace std::chrono_literals;
using asio::awaitable;

const fake_options held_device{.answers = false};
server_options limits(std::chrono::nanoseconds drain, std::chrono::nanoseconds handshake) {
  server_options out;
  out.drain_limit = drain;
  out.handshake_limit = handshake;
  return out;
}
/// Limits far longer than any test, so that waits do not end because of a limit.
server_options long_limits() {
  return limits(std::chrono::hours(1), std::chrono::hours(1));
}
/// Gives clients only a short time to drain.
server_options short_drain() {
  return limits(30ms, std::chrono::hours(1));
}

/// Sends reads of 64 KiB without receiving replies, until the server throttles the client.
awaitable<void> flood(server_rig& rig, test_client& client) {
  (void)co_await client.go();
  std::string all;
  for (unsigned i = 0; i < 200; ++i)
    all += read_request(i, 0, 65536);
  co_await client.send(all);
  // The replies to these reads fill the socket buffer.
  auto count = [&] { return rig.device->queue(0).submitted; };
  for (;;) {
    const auto taken = co_await rig.on_queue(0, count);
    if (taken >= 4) co_return;
  }
}

TEST(server_stop, answers_requests_in_flight) {
  server_rig(long_limits(), held_device).run([](server_rig& rig) -> awaitable<void> {
    auto client = rig.new_client();
    (void)co_await client->go();
    for (std::uint64_t i = 0; i < 3; ++i) {
      client->reader.reads[i] = 512;
      co_await client->send(read_request(i, 0, 512));
    }
    co_await rig.until_waiting(0, 3);
    stopping stop(rig);
    // Idle clients are dropped immediately, so this client shows that the stop has begun.
    EXPECT_EQ(co_await rig.new_client()->rest(), "");
    EXPECT_FALSE(stop.is_over());
    co_await rig.answer_all(0);
    for (int i = 0; i < 3; ++i)
      EXPECT_EQ(co_await client->reply(), fmt::format("{} data 512", i));
    EXPECT_EQ(co_await client->rest(), "");
    co_await stop.wait();
    EXPECT_EQ(rig.server->statistics().connections, 0U);
  });
}

TEST(server_stop, hangs_up_on_idle_clients_immediately) {
  server_rig(long_limits()).run([](server_rig& rig) -> awaitable<void> {
    auto client = rig.new_client();
    (void)co_await client->go();
    co_await rig.server->stop();
    EXPECT_EQ(co_await client->rest(), "");
  });
}

TEST(server_stop, hangs_up_immediately_on_clients_in_the_handshake) {
  server_rig(long_limits()).run([](server_rig& rig) -> awaitable<void> {
    auto mute = rig.new_client();
    (void)co_await mute->receive(18);
    auto haggling = rig.new_client();
    (void)co_await haggling->receive(18);
    co_await haggling->send(flags() + option(wire::nbd_option::list));
    (void)co_await haggling->receive(20 + 4 + 4 + 20);
    auto halfway = rig.new_client();
    co_await halfway->send(flags() + option(wire::nbd_option::list).substr(0, 7));
    (void)co_await halfway->receive(18);
    co_await rig.server->stop();
    EXPECT_EQ(co_await mute->rest(), "");
    EXPECT_EQ(co_await haggling->rest(), "");
    EXPECT_EQ(co_await halfway->rest(), "");
  });
}

TEST(server_stop, tells_a_client_that_waits_for_a_seat) {
  auto options = long_limits();
  options.max_connections = 1;
  server_rig(options).run([](server_rig& rig) -> awaitable<void> {
    auto first = rig.new_client();
    (void)co_await first->go();
    auto waiting = rig.new_client();
    (void)co_await waiting->receive(18);
    co_await waiting->send(flags() + option(wire::nbd_option::go, info("disk")));
    co_await rig.until([&] { return rig.server->statistics().waiting == 1; });
    co_await rig.server->stop();
    EXPECT_EQ(shown_reply(co_await waiting->rest()),
              "NBD_OPT_GO: NBD_REP_ERR_SHUTDOWN the server is shutting down");
  });
}

TEST(server_stop, waits_no_longer_than_the_limit_for_a_client_that_never_reads) {
  server_rig(short_drain()).run([](server_rig& rig) -> awaitable<void> {
    auto client = rig.new_client();
    co_await flood(rig, *client);
    co_await rig.server->stop();
    EXPECT_EQ(rig.server->statistics().connections, 0U);
    auto free = [&] { return rig.device->queue(0).pages()->free(); };
    EXPECT_EQ(co_await rig.on_queue(0, free), 64U);
  });
}

TEST(server_stop, waits_no_longer_than_the_limit_for_a_long_write_zeroes) {
  const fake_options device{.size = std::uint64_t{64} << 20U, .answers = false};
  server_rig(short_drain(), device).run([](server_rig& rig) -> awaitable<void> {
    auto client = rig.new_client();
    (void)co_await client->go();
    co_await client->send(request({nbd_command::write_zeroes, 1, 0, std::uint64_t{64} << 20U}));
    co_await rig.until_waiting(0, 4);
    stopping stop(rig);
    // The end of the stream shows that the client was disconnected.
    EXPECT_EQ(co_await client->rest(), "");
    co_await rig.answer_all(0);
    co_await stop.wait();
    auto count = [&] { return rig.device->queue(0).submitted; };
    EXPECT_EQ(co_await rig.on_queue(0, count), 4U);
  });
}

TEST(server_stop, is_cut_short_by_hang_up) {
  server_rig(long_limits()).run([](server_rig& rig) -> awaitable<void> {
    auto client = rig.new_client();
    co_await flood(rig, *client);
    auto mute = rig.new_client();
    (void)co_await mute->receive(18);
    stopping stop(rig);
    EXPECT_EQ(co_await rig.new_client()->rest(), "");
    EXPECT_FALSE(stop.is_over());
    rig.server->hang_up();
    co_await stop.wait();
    EXPECT_EQ(co_await mute->rest(), "");
  });
}

TEST(server_stop, hang_up_reaches_clients_that_have_just_connected) {
  server_rig(long_limits()).run([](server_rig& rig) -> awaitable<void> {
    // The control thread has not run yet, so the client does not have a session.
    auto mute = rig.new_client();
    rig.server->hang_up();
    EXPECT_LE((co_await mute->rest()).size(), 18U);
    auto another = rig.new_client();
    stopping stop(rig);
    rig.server->hang_up();
    co_await stop.wait();
    EXPECT_LE((co_await another->rest()).size(), 18U);
  });
}

TEST(server_stop, may_be_called_again_and_concurrently) {
  server_rig(long_limits(), held_device).run([](server_rig& rig) -> awaitable<void> {
    auto client = rig.new_client();
    (void)co_await client->go();
    co_await client->send(read_request(1, 0, 512));
    co_await rig.until_waiting(0, 1);
    stopping first(rig);
    stopping second(rig);
    EXPECT_EQ(co_await rig.new_client()->rest(), "");
    EXPECT_FALSE(first.is_over() || second.is_over());
    co_await rig.answer_all(0);
    co_await first.wait();
    co_await second.wait();
    co_await rig.server->stop();
  });
}

TEST(server_stop, accepts_no_new_clients) {
  server_rig(long_limits(), held_device).run([](server_rig& rig) -> awaitable<void> {
    const auto path = socket_path();
    rig.server->listen(listen_unix(path));
    auto client = test_client::connect(rig.control(), path);
    (void)co_await client->go();
    co_await client->send(read_request(1, 0, 512));
    co_await rig.until_waiting(0, 1);
    // This client is connected but not accepted when the stop begins, because the control thread
    // does not run in between.
    auto late = test_client::connect(rig.control(), path);
    stopping stop(rig);
    EXPECT_EQ(co_await late->rest(), "");
    bool refused = false;
    try {
      (void)test_client::connect(rig.control(), path);
    } catch (const failure& problem) {
      refused = problem.code() == std::errc::connection_refused;
    }
    EXPECT_TRUE(refused) << "the listener is closed";
    EXPECT_FALSE(stop.is_over());
    co_await rig.answer_all(0);
    co_await stop.wait();
    EXPECT_EQ(rig.server->statistics().accepted, 1U);
    ::unlink(path.c_str());
  });
}

TEST(server_stop, loses_no_reply_of_a_client_that_keeps_sending) {
  server_rig(long_limits(), held_device).run([](server_rig& rig) -> awaitable<void> {
    auto listeners = listen_tcp({"127.0.0.1", "0"});
    // A small TCP window, so that replies are still in transit when the server has sent them all.
    auto client = test_client::connect(rig.control(), listeners.front(), 4096);
    rig.server->listen(std::move(listeners.front()));
    (void)co_await client->go();
    for (std::uint64_t i = 0; i < 8; ++i) {
      client->reader.reads[i] = 65536;
      co_await client->send(read_request(i, 0, 65536));
    }
    co_await rig.until_waiting(0, 8);
    stopping stop(rig);
    EXPECT_EQ(co_await rig.new_client()->rest(), "");
    // If the server left these bytes unread, the kernel would reset the connection and drop
    // replies.
    co_await client->send(read_request(99, 0, 512));
    co_await rig.answer_all(0);
    for (std::uint64_t i = 0; i < 8; ++i)
      EXPECT_EQ(co_await client->reply(), fmt::format("{} data 65536", i));
    EXPECT_EQ(co_await client->rest(), "");
    client->half_close();
    co_await stop.wait();
  });
}

}  // namespace
}  // namespace xenpv::nbd
