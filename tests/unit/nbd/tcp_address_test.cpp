#include <gtest/gtest.h>

#include "xenpv/nbd/listen.hpp"

namespace xenpv::nbd {
namespace {

TEST(parse_tcp_address, accepts_the_common_forms) {
  const std::vector<std::pair<std::string, tcp_address>> table = {
      {"127.0.0.1:10810", {"127.0.0.1", "10810"}},
      {"disks.example:1", {"disks.example", "1"}},
      {"localhost", {"localhost", "10809"}},
      {":10810", {"", "10810"}},
      {":0", {"", "0"}},
      {"[::1]:65535", {"::1", "65535"}},
      {"[2001:db8::1]", {"2001:db8::1", "10809"}},
      {"[fe80::1%eth0]:10809", {"fe80::1%eth0", "10809"}},
  };
  for (const auto& [text, address] : table) {
    const auto parsed = parse_tcp_address(text);
    ASSERT_TRUE(parsed) << text << ": " << parsed.error().text;
    EXPECT_EQ(*parsed, address) << text;
  }
}

TEST(parse_tcp_address, refuses_ambiguous_addresses) {
  for (const std::string text :
       {"", ":", "host:", "host:port", "host:65536", "host:-1", "host:1:2", "::1", "::1:10809",
        "2001:db8::1", "[::1", "[]:1", "[]", "[::1]10809", "[::1]:", "host: 1"}) {
    const auto parsed = parse_tcp_address(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(
        parsed.error().text,
        "address '" + text + "': invalid argument (expected HOST:PORT, [ADDRESS]:PORT or :PORT)");
  }
}

}  // namespace
}  // namespace xenpv::nbd
