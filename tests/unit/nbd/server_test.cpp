// A running server: which clients it accepts, how it distributes them over its queues, and which
// exports and features it offers.
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
using client_list = std::vector<std::unique_ptr<test_client>>;

server_options handshake_within(std::chrono::nanoseconds limit) {
  server_options out;
  out.handshake_limit = limit;
  return out;
}

TEST(server, serves_a_client_from_its_greeting_to_its_end) {
  server_rig().run([](server_rig& rig) -> awaitable<void> {
    auto client = rig.new_client();
    EXPECT_EQ(co_await client->go(), 1U << 20U);
    sent_request write{nbd_command::write, 1, 4096, 5};
    EXPECT_EQ(co_await client->ask(write, "hello"), "1 ok");
    sent_request read{nbd_command::read, 2, 4096, 5};
    EXPECT_EQ(co_await client->ask(read), "2 data 5");
    EXPECT_EQ(client->reader.data, "hello");
    co_await client->send(request({nbd_command::disc}));
    EXPECT_EQ(co_await client->rest(), "");
    co_await rig.until([&] { return rig.server->statistics().connections == 0; });
    const auto counted = rig.server->statistics();
    EXPECT_EQ(counted.accepted, 1U);
    EXPECT_EQ(counted.refused, 0U);
    EXPECT_EQ(counted.failed_handshakes, 0U);
  });
}

TEST(server, accepts_on_a_listening_socket) {
  server_rig().run([](server_rig& rig) -> awaitable<void> {
    const auto path = socket_path();
    rig.server->listen(listen_unix(path));
    auto first = test_client::connect(rig.control(), path);
    auto second = test_client::connect(rig.control(), path);
    EXPECT_EQ(co_await second->go(), 1U << 20U);
    EXPECT_EQ(co_await first->go(""), 1U << 20U);
    ::unlink(path.c_str());
  });
}

TEST(server, drops_a_client_that_stalls_in_its_handshake) {
  server_rig(handshake_within(30ms)).run([](server_rig& rig) -> awaitable<void> {
    client_list clients;
    for (int i = 0; i < 3; ++i)
      clients.push_back(rig.new_client());
    // One client is silent, one stops after its flags, and one stops in the middle of an option.
    co_await clients[1]->send(flags());
    co_await clients[2]->send(flags() + option(wire::nbd_option::go, info("disk")).substr(0, 20));
    for (const auto& client : clients)
      EXPECT_EQ((co_await client->rest()).size(), 18U) << "only the greeting";
    co_await rig.until([&] { return rig.server->statistics().failed_handshakes == 3; });
    co_await rig.until([&] { return rig.server->statistics().connections == 0; });
  });
}

TEST(server, has_no_time_limit_after_the_handshake) {
  server_rig(handshake_within(20ms)).run([](server_rig& rig) -> awaitable<void> {
    auto idle = rig.new_client();
    (void)co_await idle->go();
    // Waits for longer than the limit, until another client has been dropped.
    auto mute = rig.new_client();
    (void)co_await mute->rest();
    sent_request read{nbd_command::read, 1, 0, 512};
    EXPECT_EQ(co_await idle->ask(read), "1 data 512");
  });
}

TEST(server, distributes_clients_over_the_queues_even_if_they_connect_at_once) {
  server_rig().run([](server_rig& rig) -> awaitable<void> {
    client_list clients;
    for (int i = 0; i < 4; ++i)
      clients.push_back(rig.new_client());
    std::uint64_t cookie = 0;
    for (const auto& client : clients) {
      (void)co_await client->go();
      sent_request read{nbd_command::read, ++cookie, 0, 512};
      (void)co_await client->ask(read);
    }
    std::vector<std::size_t> queues;
    const auto now = co_await rig.server->clients();
    for (const auto& entry : now) {
      EXPECT_EQ(entry.requests, 1U);
      EXPECT_EQ(entry.peer, "unix");
      queues.push_back(entry.queue);
    }
    EXPECT_THAT(queues, testing::UnorderedElementsAre(0, 0, 1, 1));
    for (std::size_t i = 0; i < 2; ++i) {
      auto count = [&] { return rig.device->queue(i).submitted; };
      EXPECT_EQ(co_await rig.on_queue(i, count), 2U);
    }
  });
}

TEST(server, assigns_the_next_client_to_the_queue_with_the_fewest) {
  server_rig().run([](server_rig& rig) -> awaitable<void> {
    client_list clients;
    for (int i = 0; i < 3; ++i) {
      clients.push_back(rig.new_client());
      (void)co_await clients.back()->go();
    }
    // The clients are on queues 0, 1 and 0. The first and the last one disconnect.
    clients[0].reset();
    clients[2].reset();
    co_await rig.until([&] { return rig.server->statistics().connections == 1; });
    auto next = rig.new_client();
    (void)co_await next->go();
    co_await rig.until_served(4);
    const auto now = co_await rig.server->clients();
    EXPECT_EQ(now.size(), 2U);
    EXPECT_EQ(now.back().queue, 0U);
  });
}

TEST(server, survives_clients_that_disconnect_anywhere_in_the_handshake) {
  server_rig().run([](server_rig& rig) -> awaitable<void> {
    const auto whole = flags() + option(wire::nbd_option::list) +
                       option(wire::nbd_option::go, info("disk")) + read_request(1, 0, 512);
    for (std::size_t size = 0; size <= whole.size(); ++size) {
      auto client = rig.new_client();
      co_await client->send(whole.substr(0, size));
      client.reset();
      co_await rig.until([&] { return rig.server->statistics().connections == 0; });
    }
    EXPECT_EQ(co_await rig.new_client()->go(), 1U << 20U);
  });
}

TEST(server, applies_a_resize_to_new_clients_and_to_requests_of_earlier_ones) {
  server_rig().run([](server_rig& rig) -> awaitable<void> {
    auto before = rig.new_client();
    EXPECT_EQ(co_await before->go(), 1U << 20U);
    auto during = rig.new_client();
    auto shape = rig.device->queue(0).shape();
    shape.size = 1U << 19U;
    rig.server->reshape(*rig.device, shape);
    auto after = rig.new_client();
    EXPECT_EQ(co_await after->go(), 1U << 19U);
    EXPECT_EQ(co_await during->go(), 1U << 20U) << "its session began with the old size";
    sent_request read{nbd_command::read, 1, 1U << 19U, 512};
    EXPECT_EQ(co_await before->ask(read), "1 EINVAL");
    EXPECT_EQ(co_await during->ask(read), "1 EINVAL");
    EXPECT_EQ(co_await after->ask(read), "1 EINVAL");
  });
}

TEST(server, names_clients_by_their_remote_address) {
  for (const std::string host : {"127.0.0.1", "::1"}) {
    server_rig().run([host](server_rig& rig) -> awaitable<void> {
      std::vector<unique_fd> listeners;
      try {
        listeners = listen_tcp({host, "0"});
      } catch (const failure&) {
        // This machine does not support this address family.
        co_return;
      }
      auto client = test_client::connect(rig.control(), listeners.front());
      rig.server->listen(std::move(listeners.front()));
      (void)co_await client->go();
      co_await rig.until_served(1);
      const auto peers = co_await rig.server->clients();
      const auto shown = host == "::1" ? "[::1]" : host;
      EXPECT_EQ(peers.front().peer, shown + ":" + std::to_string(client->own_port()));
    });
  }
}

TEST(server, reports_the_age_and_the_idle_time_of_clients) {
  server_rig().run([](server_rig& rig) -> awaitable<void> {
    const auto path = socket_path();
    rig.server->listen(listen_unix(path));
    auto client = test_client::connect(rig.control(), path);
    (void)co_await client->go();
    co_await rig.until_served(1);
    std::vector<client_statistics> before;
    const auto idle_for_20ms = [&] { return !before.empty() && before.front().idle > 20ms; };
    while (!idle_for_20ms())
      before = co_await rig.server->clients();
    EXPECT_GE(before.front().age, before.front().idle);
    EXPECT_EQ(before.front().listener, "unix " + path);
    EXPECT_EQ(before.front().identity, "");
    sent_request read{nbd_command::read, 1, 0, 512};
    (void)co_await client->ask(read);
    const auto after = co_await rig.server->clients();
    EXPECT_LT(after.front().idle, after.front().age);
    EXPECT_GE(after.front().age, before.front().age);
    ::unlink(path.c_str());
  });
}

TEST(server, offers_the_features_of_the_device) {
  export_options exported;
  exported.read_only = true;
  server_rig({}, {.can_flush = false, .can_discard = false}, exported)
      .run([](server_rig& rig) -> awaitable<void> {
        auto client = rig.new_client();
        (void)co_await client->go();
        sent_request write{nbd_command::write, 1, 0, 3};
        EXPECT_EQ(co_await client->ask(write, "abc"), "1 EPERM");
        sent_request flush{nbd_command::flush, 2};
        EXPECT_EQ(co_await client->ask(flush), "2 EINVAL");
        sent_request trim{nbd_command::trim, 3, 0, 4096};
        EXPECT_EQ(co_await client->ask(trim), "3 EPERM");
      });
}

TEST(server, refuses_an_export_name_that_no_client_could_request) {
  const auto made_with = [](std::string name) -> std::string {
    export_options exported;
    exported.name = std::move(name);
    try {
      const server_rig rig({}, {}, exported);
    } catch (const failure& problem) {
      return problem.what();
    }
    return "no failure";
  };
  EXPECT_EQ(made_with("a\xff"), "offer export 'a?': its name is not UTF-8 or contains a NUL");
  EXPECT_EQ(made_with(std::string(2000, 'x')).substr(0, 18), "offer export 'xxxx");
}

}  // namespace
}  // namespace xenpv::nbd
