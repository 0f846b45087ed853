// The limits on clients that negotiate and on clients that are served, and the replies to surplus
// clients.
#include <gmock/gmock.h>
#include <sys/resource.h>

#include "negotiation_client.hpp"
#include "server_rig.hpp"
#include "xenpv/base/error.hpp"
#include "xenpv/nbd/listen.hpp"

namespace xenpv::nbd {
namespace {

using namespace test;
using asio::awaitable;
using client_list = std::vector<std::unique_ptr<test_client>>;

/// Limits far longer than any test.
server_options at_most(unsigned connections, unsigned handshakes = 64) {
  server_options out;
  out.max_connections = connections;
  out.max_handshakes = handshakes;
  out.handshake_limit = out.drain_limit = std::chrono::hours(1);
  return out;
}
const auto go_disk = flags() + option(wire::nbd_option::go, info("disk"));

awaitable<void> until_waiting(server_rig& rig, std::size_t count) {
  const auto reached = [&rig, count] { return rig.server->statistics().waiting == count; };
  co_await rig.until(reached);
}
awaitable<void> until_connections(server_rig& rig, std::size_t count) {
  const auto reached = [&rig, count] { return rig.server->statistics().connections == count; };
  co_await rig.until(reached);
}
/// Returns the transmission flags that the server sends with NBD_OPT_INFO.
awaitable<std::uint64_t> offered_flags(server_rig& rig) {
  auto client = rig.new_client();
  (void)co_await client->receive(18);
  co_await client->send(flags() + option(wire::nbd_option::info, info("disk")));
  const auto reply = co_await client->receive(20 + 12);
  co_return number_at(reply, 20 + 2 + 8, 2);
}
constexpr std::uint64_t can_multi_conn = 1U << 8U;

TEST(server_seats, mute_clients_do_not_keep_others_out) {
  server_rig(at_most(2)).run([](server_rig& rig) -> awaitable<void> {
    client_list mutes;
    for (int i = 0; i < 40; ++i)
      mutes.push_back(rig.new_client());
    for (int i = 0; i < 30; ++i) {
      auto client = rig.new_client();
      EXPECT_EQ(co_await client->go(), 1U << 20U);
      client.reset();
      co_await until_connections(rig, 40);
    }
    EXPECT_EQ(rig.server->statistics().handshakes, 40U);
    EXPECT_EQ(rig.server->statistics().evicted, 0U);
  });
}

TEST(server_seats, the_oldest_handshake_makes_room_for_a_new_one) {
  server_rig(at_most(2, 3)).run([](server_rig& rig) -> awaitable<void> {
    client_list mutes;
    for (int i = 0; i < 3; ++i) {
      mutes.push_back(rig.new_client());
      (void)co_await mutes.back()->receive(18);
    }
    testing::internal::CaptureStderr();
    auto fourth = rig.new_client();
    EXPECT_EQ(co_await mutes[0]->rest(), "");
    (void)co_await mutes[1]->send(go_disk);
    EXPECT_NE(co_await mutes[1]->some(), "");
    EXPECT_EQ(co_await fourth->go(), 1U << 20U);
    EXPECT_EQ(rig.server->statistics().evicted, 1U);
    EXPECT_THAT(
        testing::internal::GetCapturedStderr(),
        testing::HasSubstr("client 1 (unix): unfinished handshake ended: there are too many "
                           "unfinished handshakes"));
  });
}

TEST(server_seats, evictions_are_logged_once_a_second_with_a_count) {
  testing::internal::CaptureStderr();
  server_rig(at_most(2, 2)).run([](server_rig& rig) -> awaitable<void> {
    client_list mutes;
    for (int i = 0; i < 200; ++i)
      mutes.push_back(rig.new_client());
    const auto evicted = [&] { return rig.server->statistics().connections == 2; };
    co_await rig.until(evicted);
    EXPECT_EQ(rig.server->statistics().evicted, 198U);
  });
  const auto log = testing::internal::GetCapturedStderr();
  EXPECT_LE(std::count(log.begin(), log.end(), '\n'), 4);
  EXPECT_THAT(log, testing::HasSubstr("197 more unfinished handshakes were ended"));
}

TEST(server_seats, a_flood_on_one_listener_leaves_handshakes_on_another_alone) {
  server_rig(at_most(2, 4)).run([](server_rig& rig) -> awaitable<void> {
    auto tcp = listen_tcp({"127.0.0.1", "0"});
    const unique_fd port = unique_fd::duplicate(tcp.front().get());
    rig.server->listen(std::move(tcp.front()));
    const auto path = socket_path();
    rig.server->listen(listen_unix(path));
    auto local = test_client::connect(rig.control(), path);
    (void)co_await local->receive(18);
    client_list flood;
    for (int i = 0; i < 50; ++i) {
      flood.push_back(test_client::connect(rig.control(), port));
      (void)co_await flood.back()->receive(18);
    }
    co_await local->send(go_disk);
    EXPECT_NE(co_await local->some(), "");
    EXPECT_EQ(rig.server->statistics().evicted, 47U);
    ::unlink(path.c_str());
  });
}

TEST(server_seats, a_surplus_client_waits_until_another_one_leaves) {
  server_rig(at_most(1)).run([](server_rig& rig) -> awaitable<void> {
    auto first = rig.new_client();
    (void)co_await first->go();
    auto second = rig.new_client();
    (void)co_await second->receive(18);
    co_await second->send(go_disk);
    co_await until_waiting(rig, 1);
    co_await rig.until_served(1);
    EXPECT_EQ(rig.server->statistics().accepted, 1U);
    first.reset();
    // The replies to NBD_OPT_GO arrive when there is a seat.
    EXPECT_THAT(shown_reply(co_await second->receive(20 + 12)),
                testing::StartsWith("NBD_OPT_GO: NBD_REP_INFO"));
    (void)co_await second->receive(20);
    sent_request read{nbd_command::read, 1, 0, 512};
    EXPECT_EQ(co_await second->ask(read), "1 data 512");
    EXPECT_EQ(rig.server->statistics().accepted, 2U);
  });
}

TEST(server_seats, waiting_does_not_count_towards_the_handshake_limit) {
  auto options = at_most(1);
  options.handshake_limit = std::chrono::milliseconds(50);
  server_rig(options).run([](server_rig& rig) -> awaitable<void> {
    auto first = rig.new_client();
    (void)co_await first->go();
    auto second = rig.new_client();
    (void)co_await second->receive(18);
    co_await second->send(go_disk);
    co_await until_waiting(rig, 1);
    auto mute = rig.new_client();
    (void)co_await mute->rest();
    auto another = rig.new_client();
    (void)co_await another->rest();
    EXPECT_EQ(rig.server->statistics().waiting, 1U);
    first.reset();
    EXPECT_NE(co_await second->some(), "");
  });
}

TEST(server_seats, a_client_that_leaves_while_it_waits_frees_its_place) {
  server_rig(at_most(1)).run([](server_rig& rig) -> awaitable<void> {
    auto first = rig.new_client();
    (void)co_await first->go();
    auto second = rig.new_client();
    (void)co_await second->receive(18);
    co_await second->send(go_disk);
    co_await until_waiting(rig, 1);
    // If data follows NBD_OPT_GO, a read does not reach the end of the stream.
    co_await second->send(read_request(1, 0, 512));
    second.reset();
    co_await until_waiting(rig, 0);
    first.reset();
    EXPECT_EQ(co_await rig.new_client()->go(), 1U << 20U);
  });
}

TEST(server_seats, a_client_is_refused_with_a_reason_if_too_many_wait) {
  auto options = at_most(1);
  options.max_waiting = 1;
  testing::internal::CaptureStderr();
  server_rig(options).run([](server_rig& rig) -> awaitable<void> {
    auto first = rig.new_client();
    (void)co_await first->go();
    auto second = rig.new_client();
    (void)co_await second->receive(18);
    co_await second->send(go_disk);
    co_await until_waiting(rig, 1);
    auto third = rig.new_client();
    (void)co_await third->receive(18);
    co_await third->send(go_disk);
    EXPECT_EQ(shown_reply(co_await third->rest()),
              "NBD_OPT_GO: NBD_REP_ERR_POLICY too many clients are waiting");
    auto old = rig.new_client();
    (void)co_await old->receive(18);
    co_await old->send(flags() + option(wire::nbd_option::export_name, "disk"));
    EXPECT_EQ(co_await old->rest(), "") << "NBD_OPT_EXPORT_NAME has no error reply";
    EXPECT_EQ(rig.server->statistics().refused, 2U);
  });
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              testing::HasSubstr("client 3 (unix): refused: too many clients are waiting"));
}

TEST(server_seats, several_connections_are_announced_only_if_there_are_four_seats) {
  for (const unsigned seats : {1U, 2U, 3U, 4U, 16U}) {
    server_rig(at_most(seats)).run([seats](server_rig& rig) -> awaitable<void> {
      const auto offered = co_await offered_flags(rig);
      EXPECT_EQ((offered & can_multi_conn) != 0, seats >= 4) << seats;
      // The kernel's own connections are not limited.
      EXPECT_NE(rig.server->transmission_flags() & can_multi_conn, 0U);
    });
  }
}

/// Lowers the limit of open files for the lifetime of this object.
class few_descriptors {
 public:
  explicit few_descriptors(rlim_t more) {
    const unique_fd lowest = unique_fd::duplicate(0);
    ::getrlimit(RLIMIT_NOFILE, &before_);
    auto lowered = before_;
    lowered.rlim_cur = static_cast<rlim_t>(lowest.get()) + more;
    ::setrlimit(RLIMIT_NOFILE, &lowered);
  }
  ~few_descriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  few_descriptors(const few_descriptors&) = delete;
  few_descriptors& operator=(const few_descriptors&) = delete;

 private:
  rlimit before_{};
};

TEST(server_seats, a_reserve_of_descriptors_stays_free_whatever_connects) {
  testing::internal::CaptureStderr();
  server_rig(at_most(1000, 1000)).run([](server_rig& rig) -> awaitable<void> {
    const auto path = socket_path();
    rig.server->listen(listen_unix(path));
    auto served = test_client::connect(rig.control(), path);
    (void)co_await served->go();
    const few_descriptors few(60);
    client_list flood;
    for (int i = 0; i < 28; ++i)
      flood.push_back(test_client::connect(rig.control(), path));
    const auto started = [&] { return rig.server->statistics().evicted > 0; };
    co_await rig.until(started);
    // Descriptors for the program itself.
    std::vector<unique_fd> own;
    for (int i = 0; i < 5; ++i) {
      own.push_back(unique_fd::duplicate(0));
      EXPECT_TRUE(own.back()) << i;
    }
    sent_request read{nbd_command::read, 1, 0, 512};
    EXPECT_EQ(co_await served->ask(read), "1 data 512");
    own.clear();
    auto last = test_client::connect(rig.control(), path);
    EXPECT_EQ(co_await last->go(), 1U << 20U);
    ::unlink(path.c_str());
  });
  const auto log = testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, testing::HasSubstr("few file descriptors are left"));
  EXPECT_LE(std::count(log.begin(), log.end(), '\n'), 12);
}

TEST(server_seats, disconnect_cuts_one_client_by_its_number) {
  server_rig(at_most(4)).run([](server_rig& rig) -> awaitable<void> {
    auto first = rig.new_client();
    (void)co_await first->go();
    auto second = rig.new_client();
    (void)co_await second->go();
    EXPECT_FALSE(rig.server->disconnect(3));
    EXPECT_TRUE(rig.server->disconnect(1));
    EXPECT_EQ(co_await first->rest(), "");
    sent_request read{nbd_command::read, 1, 0, 512};
    EXPECT_EQ(co_await second->ask(read), "1 data 512");
    co_await until_connections(rig, 1);
    EXPECT_FALSE(rig.server->disconnect(1));
  });
}

}  // namespace
}  // namespace xenpv::nbd
