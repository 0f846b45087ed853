// The sockets of clients: options, addresses, and noticing that a client has hung up.
#include "nbd/client_socket.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include "server_rig.hpp"
#include "xenpv/base/unique_fd.hpp"
#include "xenpv/nbd/listen.hpp"

namespace xenpv::nbd {
namespace {

using namespace std::chrono_literals;

int option_of(const unique_fd& socket, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  EXPECT_EQ(::getsockopt(socket.get(), level, name, &value, &size), 0);
  return value;
}
unique_fd tcp_socket() {
  return unique_fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}
std::array<unique_fd, 2> socket_pair() {
  std::array<int, 2> ends{};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  return {unique_fd(ends[0]), unique_fd(ends[1])};
}

TEST(client_socket, a_dead_tcp_client_is_noticed_after_a_minute) {
  const auto socket = tcp_socket();
  set_client_options(socket.get(), 60s);
  EXPECT_EQ(option_of(socket, SOL_SOCKET, SO_KEEPALIVE), 1);
  const auto idle = option_of(socket, IPPROTO_TCP, TCP_KEEPIDLE);
  const auto interval = option_of(socket, IPPROTO_TCP, TCP_KEEPINTVL);
  const auto count = option_of(socket, IPPROTO_TCP, TCP_KEEPCNT);
  EXPECT_EQ(idle + interval * count, 60);
  EXPECT_EQ(option_of(socket, IPPROTO_TCP, TCP_USER_TIMEOUT), 60'000);
  EXPECT_EQ(option_of(socket, IPPROTO_TCP, TCP_NODELAY), 1);
}

TEST(client_socket, unacknowledged_data_may_take_as_long_as_the_progress_limit) {
  const auto longer = tcp_socket();
  set_client_options(longer.get(), 5min);
  EXPECT_EQ(option_of(longer, IPPROTO_TCP, TCP_USER_TIMEOUT), 300'000);
  const auto shorter = tcp_socket();
  set_client_options(shorter.get(), 5s);
  EXPECT_EQ(option_of(shorter, IPPROTO_TCP, TCP_USER_TIMEOUT), 60'000);
  const auto unlimited = tcp_socket();
  set_client_options(unlimited.get(), 0s);
  EXPECT_EQ(option_of(unlimited, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
  EXPECT_EQ(option_of(unlimited, SOL_SOCKET, SO_KEEPALIVE), 1);
}

TEST(client_socket, unix_sockets_can_buffer_a_batch_of_replies) {
  const auto [server, client] = socket_pair();
  const auto before = option_of(server, SOL_SOCKET, SO_SNDBUF);
  set_client_options(server.get(), 60s);
  EXPECT_GE(option_of(server, SOL_SOCKET, SO_SNDBUF), before);
}

TEST(client_socket, a_hang_up_is_visible_behind_unread_data) {
  auto [server, client] = socket_pair();
  EXPECT_FALSE(has_hung_up(server.get()));
  EXPECT_EQ(::write(client.get(), "data", 4), 4);
  EXPECT_FALSE(has_hung_up(server.get()));
  client.reset();
  EXPECT_TRUE(has_hung_up(server.get()));
}

TEST(client_socket, listeners_have_names) {
  const auto path = test::socket_path();
  const auto local = listen_unix(path);
  EXPECT_EQ(listener_name(local.get()), "unix " + path);
  ::unlink(path.c_str());
  const auto tcp = listen_tcp({"127.0.0.1", "0"});
  EXPECT_EQ(listener_name(tcp.front().get()), "tcp 127.0.0.1:" + port_of(tcp.front()));
  EXPECT_EQ(listener_name(-1), "unknown");
}

TEST(client_socket, the_peer_of_a_socket_pair_is_a_local_one) {
  const auto [server, client] = socket_pair();
  EXPECT_EQ(to_string(peer_of_client(server.get())), "unix");
  EXPECT_TRUE(is_local(peer_of_client(server.get())));
}

}  // namespace
}  // namespace xenpv::nbd
