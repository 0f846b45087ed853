// A server while it serves: who is let in, where they go, what they are told.
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
using clients_of = std::vector<std::unique_ptr<test_client>>;

server_options handshake_within(std::chrono::nanoseconds limit) {
  server_options out;
  out.handshake_limit = limit;
  return out;
}
server_options at_most(unsigned connections) {
  server_options out;
  out.max_connections = connections;
  return out;
}

std::string failure_text(const std::function<void()>& act) {
  try {
    act();
  } catch (const failure& problem) {
    return problem.what();
  }
  return "no failure";
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

TEST(server, drops_a_client_that_does_not_get_on_with_its_handshake) {
  server_rig(handshake_within(30ms)).run([](server_rig& rig) -> awaitable<void> {
    clients_of clients;
    for (int i = 0; i < 3; ++i)
      clients.push_back(rig.new_client());
    // One is mute, one stops after its flags, one in the middle of an option.
    co_await clients[1]->send(flags());
    co_await clients[2]->send(flags() + option(wire::nbd_option::go, info("disk")).substr(0, 20));
    for (const auto& each : clients)
      EXPECT_EQ((co_await each->rest()).size(), 18U) << "nothing but the greeting";
    co_await rig.until([&] { return rig.server->statistics().failed_handshakes == 3; });
    EXPECT_EQ(rig.server->statistics().connections, 0U);
  });
}

TEST(server, gives_a_client_all_the_time_it_wants_after_its_handshake) {
  server_rig(handshake_within(20ms)).run([](server_rig& rig) -> awaitable<void> {
    auto idle = rig.new_client();
    (void)co_await idle->go();
    // Longer than the limit: another that waits for it is dropped meanwhile.
    auto mute = rig.new_client();
    (void)co_await mute->rest();
    sent_request read{nbd_command::read, 1, 0, 512};
    EXPECT_EQ(co_await idle->ask(read), "1 data 512");
  });
}

TEST(server, turns_away_whoever_is_too_many_also_when_they_come_at_once) {
  server_rig(at_most(2)).run([](server_rig& rig) -> awaitable<void> {
    clients_of clients;
    for (int i = 0; i < 5; ++i)
      clients.push_back(rig.new_client());
    EXPECT_EQ(rig.server->statistics().accepted, 2U);
    EXPECT_EQ(rig.server->statistics().refused, 3U);
    for (std::size_t i = 2; i < 5; ++i)
      EXPECT_EQ(co_await clients[i]->rest(), "");
    (void)co_await clients[0]->go();
    (void)co_await clients[1]->go();
  });
}

TEST(server, lets_the_next_one_in_when_one_has_left) {
  server_rig(at_most(1)).run([](server_rig& rig) -> awaitable<void> {
    auto first = rig.new_client();
    (void)co_await first->go();
    EXPECT_EQ(co_await rig.new_client()->rest(), "");
    first.reset();
    co_await rig.until([&] { return rig.server->statistics().connections == 0; });
    EXPECT_EQ(co_await rig.new_client()->go(), 1U << 20U);
  });
}

TEST(server, counts_those_that_shake_hands_among_the_connections) {
  server_rig(at_most(1)).run([](server_rig& rig) -> awaitable<void> {
    auto mute = rig.new_client();
    EXPECT_EQ(rig.server->statistics().connections, 1U);
    EXPECT_EQ(co_await rig.new_client()->rest(), "");
  });
}

TEST(server, spreads_clients_over_the_queues_also_when_they_come_at_once) {
  server_rig().run([](server_rig& rig) -> awaitable<void> {
    clients_of clients;
    for (int i = 0; i < 4; ++i)
      clients.push_back(rig.new_client());
    std::uint64_t cookie = 0;
    for (const auto& each : clients) {
      (void)co_await each->go();
      sent_request read{nbd_command::read, ++cookie, 0, 512};
      (void)co_await each->ask(read);
    }
    std::vector<std::size_t> queues;
    const auto now = co_await rig.server->clients();
    for (const auto& each : now) {
      EXPECT_EQ(each.requests, 1U);
      EXPECT_EQ(each.peer, "unix");
      queues.push_back(each.queue);
    }
    EXPECT_THAT(queues, testing::UnorderedElementsAre(0, 0, 1, 1));
    for (std::size_t i = 0; i < 2; ++i) {
      auto count = [&] { return rig.device->queue(i).submitted; };
      EXPECT_EQ(co_await rig.on_queue(i, count), 2U);
    }
  });
}

TEST(server, gives_the_next_client_to_the_queue_with_the_fewest) {
  server_rig().run([](server_rig& rig) -> awaitable<void> {
    clients_of clients;
    for (int i = 0; i < 3; ++i) {
      clients.push_back(rig.new_client());
      (void)co_await clients.back()->go();
    }
    // Of those on queues 0, 1, 0 the first and the last leave.
    clients[0].reset();
    clients[2].reset();
    co_await rig.until([&] { return rig.server->statistics().connections == 1; });
    auto next = rig.new_client();
    (void)co_await next->go();
    const auto now = co_await rig.server->clients();
    EXPECT_EQ(now.size(), 2U);
    EXPECT_EQ(now.back().queue, 0U);
  });
}

TEST(server, is_not_hurt_by_clients_that_vanish_anywhere_in_the_handshake) {
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

TEST(server, tells_new_clients_of_a_resize_and_judges_those_of_before_by_it) {
  server_rig().run([](server_rig& rig) -> awaitable<void> {
    auto before = rig.new_client();
    EXPECT_EQ(co_await before->go(), 1U << 20U);
    auto during = rig.new_client();
    auto shape = rig.device->queue(0).shape();
    shape.size = 1U << 19U;
    rig.server->reshape(shape);
    auto after = rig.new_client();
    EXPECT_EQ(co_await after->go(), 1U << 19U);
    EXPECT_EQ(co_await during->go(), 1U << 20U) << "it was made with the old one";
    sent_request read{nbd_command::read, 1, 1U << 19U, 512};
    EXPECT_EQ(co_await before->ask(read), "1 EINVAL");
    EXPECT_EQ(co_await during->ask(read), "1 EINVAL");
    EXPECT_EQ(co_await after->ask(read), "1 EINVAL");
  });
}

TEST(server, names_clients_by_the_address_they_come_from) {
  for (const std::string host : {"127.0.0.1", "::1"}) {
    server_rig().run([host](server_rig& rig) -> awaitable<void> {
      std::vector<unique_fd> listeners;
      try {
        listeners = listen_tcp({host, "0"});
      } catch (const failure&) {
        // No such protocol on this machine.
        co_return;
      }
      auto client = test_client::connect(rig.control(), listeners.front());
      rig.server->listen(std::move(listeners.front()));
      (void)co_await client->go();
      const auto peers = co_await rig.server->clients();
      const auto shown = host == "::1" ? "[::1]" : host;
      EXPECT_EQ(peers.front().peer, shown + ":" + std::to_string(client->own_port()));
    });
  }
}

TEST(server, offers_what_the_device_can) {
  server_options options;
  options.read_only = true;
  server_rig(options, {.can_flush = false, .can_discard = false})
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

TEST(server, refuses_an_export_name_that_no_client_could_ask_for) {
  const auto made_with = [](std::string name) {
    server_options options;
    options.export_name = std::move(name);
    return failure_text([&] { const server_rig rig(options); });
  };
  EXPECT_EQ(made_with("a\xff"), "offer export 'a?': its name is not UTF-8, or has a NUL in it");
  EXPECT_EQ(made_with(std::string(2000, 'x')).substr(0, 18), "offer export 'xxxx");
}

}  // namespace
}  // namespace xenpv::nbd
