#include "xenpv/nbd/peer_address.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cstring>

namespace xenpv::nbd {
namespace {

using family = peer_address::family;

template <class Raw>
peer_address convert(const Raw& raw, socklen_t size = sizeof(Raw)) {
  return to_peer_address(reinterpret_cast<const sockaddr*>(&raw), size);
}

peer_address ipv4(const char* host, std::uint16_t port) {
  sockaddr_in raw{};
  raw.sin_family = AF_INET;
  raw.sin_port = htons(port);
  ::inet_pton(AF_INET, host, &raw.sin_addr);
  return convert(raw);
}

peer_address ipv6(const char* host, std::uint16_t port, std::uint32_t scope = 0) {
  sockaddr_in6 raw{};
  raw.sin6_family = AF_INET6;
  raw.sin6_port = htons(port);
  raw.sin6_scope_id = scope;
  ::inet_pton(AF_INET6, host, &raw.sin6_addr);
  return convert(raw);
}

peer_address vsock(std::uint32_t cid, std::uint32_t port) {
  sockaddr_vm raw{};
  raw.svm_family = AF_VSOCK;
  raw.svm_cid = cid;
  raw.svm_port = port;
  return convert(raw);
}

TEST(peer_address, is_shown_in_the_notation_of_its_family) {
  EXPECT_EQ(to_string(ipv4("192.0.2.7", 41312)), "192.0.2.7:41312");
  EXPECT_EQ(to_string(ipv6("2001:db8::1", 10809)), "[2001:db8::1]:10809");
  EXPECT_EQ(to_string(ipv6("fe80::1", 1, 2)), "[fe80::1%2]:1");
  EXPECT_EQ(to_string(vsock(3, 4'000'000'000)), "vsock:3:4000000000");
  sockaddr_un path{};
  path.sun_family = AF_UNIX;
  EXPECT_EQ(to_string(convert(path)), "unix");
  EXPECT_EQ(to_string(convert(path, sizeof path.sun_family)), "unix") << "an unnamed socket";
}

TEST(peer_address, shows_an_ipv4_client_of_an_ipv6_socket_as_ipv4) {
  EXPECT_EQ(ipv6("::ffff:192.0.2.7", 1), ipv4("192.0.2.7", 1));
  EXPECT_EQ(to_string(ipv6("::ffff:127.0.0.1", 5)), "127.0.0.1:5");
  EXPECT_TRUE(is_local(ipv6("::ffff:127.0.0.1", 5)));
}

TEST(peer_address, of_another_family_or_size_names_the_family) {
  sockaddr_storage raw{};
  raw.ss_family = AF_NETLINK;
  EXPECT_EQ(to_string(convert(raw)), "address family 16");
  raw.ss_family = AF_INET6;
  EXPECT_EQ(to_string(convert(raw, sizeof(sockaddr_in))), "address family 10") << "truncated";
  EXPECT_EQ(to_peer_address(nullptr, 0).kind, family::other);
}

TEST(peer_address, is_local_if_only_this_machine_can_have_it) {
  for (const auto& local : {ipv4("127.0.0.1", 1), ipv4("127.255.0.9", 1), ipv6("::1", 1),
                            vsock(1, 1), peer_address{.kind = family::unix_socket}})
    EXPECT_TRUE(is_local(local)) << to_string(local);
  for (const auto& remote :
       {ipv4("0.0.0.0", 1), ipv4("128.0.0.1", 1), ipv6("::", 1), ipv6("::2", 1), ipv6("fe80::1", 1),
        vsock(2, 1), vsock(VMADDR_CID_ANY, 1), peer_address{}})
    EXPECT_FALSE(is_local(remote)) << to_string(remote);
}

TEST(network_of, ignores_the_port_and_the_last_64_bits_of_ipv6) {
  EXPECT_EQ(network_of(ipv6("2001:db8:1:2:3:4:5:6", 1)), ipv6("2001:db8:1:2::", 0));
  EXPECT_NE(network_of(ipv6("2001:db8:1:3::1", 1)), ipv6("2001:db8:1:2::", 0));
  EXPECT_EQ(network_of(ipv4("192.0.2.7", 1)), ipv4("192.0.2.7", 0));
  EXPECT_EQ(network_of(vsock(3, 1)), vsock(3, 0));
}

}  // namespace
}  // namespace xenpv::nbd
