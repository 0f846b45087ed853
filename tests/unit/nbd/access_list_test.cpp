// Access lists: the rights of clients, and the messages for mistakes in the file.
#include "xenpv/nbd/access_list.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>

namespace xenpv::nbd {
namespace {

using family = peer_address::family;
using proof = tls_identity::proof;
constexpr auto none = access::none;
constexpr auto read_only = access::read_only;
constexpr auto read_write = access::read_write;

const peer_address local_client{.kind = family::unix_socket};
const tls_identity plaintext{};

peer_address at(const char* host) {
  peer_address out{.kind = family::ipv4, .port = 41312};
  if (::inet_pton(AF_INET, host, out.bytes.data()) == 1) return out;
  out.kind = family::ipv6;
  EXPECT_EQ(::inet_pton(AF_INET6, host, out.bytes.data()), 1) << host;
  return out;
}

peer_address vsock(std::uint32_t cid) {
  return {.kind = family::vsock, .number = cid, .port = 1023};
}

tls_identity psk(std::string user) {
  return {proof::key, std::move(user)};
}
tls_identity cert(std::string subject) {
  return {proof::certificate, std::move(subject)};
}

access_list parsed(std::string_view text) {
  return access_list::parse(text, "access").value();
}

access decide(std::string_view text, const peer_address& peer, const tls_identity& who = {}) {
  return parsed(text).decide(peer, who);
}

std::string problem_with(std::string_view text) {
  const auto result = access_list::parse(text, "access");
  return result ? "none" : result.error().text;
}

TEST(access_list, denies_all_that_no_rule_allows) {
  const auto rule = "allow rw psk:alice";
  EXPECT_EQ(decide(rule, local_client, psk("alice")), read_write);
  EXPECT_EQ(decide(rule, local_client, psk("bob")), none);
  EXPECT_EQ(decide(rule, local_client, plaintext), none);
  EXPECT_EQ(decide(rule, local_client, cert("CN=alice")), none) << "another kind of identity";
}

TEST(access_list, matches_a_key_by_the_whole_name) {
  const auto rule = "allow rw psk:alice";
  for (const std::string name :
       {"Alice", "alice ", "alic", "alicee", "", "psk:alice", "alice\n", "*"})
    EXPECT_EQ(decide(rule, local_client, psk(name)), none) << name;
  EXPECT_EQ(decide(rule, local_client, psk(std::string("alice\0x", 7))), none);
  EXPECT_EQ(decide("allow ro \"psk:alice b\"", local_client, psk("alice b")), read_only);
  EXPECT_EQ(decide("allow ro psk:a:b", local_client, psk("a:b")), read_only);
  const std::string longest(200, 'x');
  EXPECT_EQ(decide("allow rw psk:" + longest + "1", local_client, psk(longest + "2")), none);
}

TEST(access_list, never_matches_an_identity_for_a_plaintext_client) {
  const auto rules = "allow rw psk:*\nallow rw cert:*\nallow rw psk:alice\nallow rw cert:CN=a";
  EXPECT_EQ(decide(rules, local_client, plaintext), none);
  EXPECT_EQ(decide(rules, local_client, {proof::none, "alice"}), none);
  EXPECT_EQ(decide(rules, local_client, psk("anybody")), read_write);
  EXPECT_EQ(decide(rules, local_client, cert("")), read_write) << "a certificate without a subject";
  EXPECT_EQ(decide("allow rw cert:CN=a", local_client, cert("")), none);
}

TEST(access_list, compares_subjects_regardless_of_their_notation) {
  const auto matches = [](std::string_view rule, std::string subject) {
    return decide(std::string("allow rw \"cert:") + std::string(rule) + "\"", local_client,
                  cert(std::move(subject))) == read_write;
  };
  EXPECT_TRUE(matches("CN=backup,O=Example", "CN=backup,O=Example"));
  EXPECT_TRUE(matches("cn=backup, o=Example", "CN=backup,O=Example"));
  EXPECT_TRUE(matches("CN=Käse", "CN=K\\C3\\A4se"));
  EXPECT_TRUE(matches("CN=a\\,b", "CN=a\\2Cb"));
  EXPECT_TRUE(matches("CN=say \\\"hi\\\"", "CN=say \\\"hi\\\""));
  EXPECT_FALSE(matches("CN=backup,O=Example", "CN=backup"));
  EXPECT_FALSE(matches("CN=backup", "CN=backup,O=Example"));
  EXPECT_FALSE(matches("CN=backup,O=Example", "O=Example,CN=backup"));
  EXPECT_FALSE(matches("CN=backup", "CN=Backup"));
  EXPECT_FALSE(matches("CN=a,O=b", "CN=a\\,O=b")) << "a separator inside a value";
  EXPECT_FALSE(matches("CN=a", "CN=a\\ ")) << "an escaped blank is part of the value";
  EXPECT_FALSE(matches("CN=a+OU=b", "CN=a,OU=b"));
  EXPECT_FALSE(matches("CN=\\#00", "CN=#00")) << "text, not hexadecimal";
}

TEST(access_list, matches_addresses_by_their_prefix) {
  const auto rules = "allow rw address:192.0.2.0/24\nallow ro address:2001:db8::/33";
  EXPECT_EQ(decide(rules, at("192.0.2.0")), read_write);
  EXPECT_EQ(decide(rules, at("192.0.2.255")), read_write);
  EXPECT_EQ(decide(rules, at("192.0.3.0")), none);
  EXPECT_EQ(decide(rules, at("2001:db8::1")), read_only);
  EXPECT_EQ(decide(rules, at("2001:db8:7fff::")), read_only);
  EXPECT_EQ(decide(rules, at("2001:db8:8000::")), none);
  EXPECT_EQ(decide(rules, local_client), none);
  EXPECT_EQ(decide("allow rw address:0.0.0.0/0", at("203.0.113.9")), read_write);
  EXPECT_EQ(decide("allow rw address:0.0.0.0/0", at("::1")), none);
  EXPECT_EQ(decide("allow rw address:192.0.2.7", at("192.0.2.7")), read_write);
  EXPECT_EQ(decide("allow rw address:192.0.2.7", at("192.0.2.6")), none);
}

TEST(access_list, matches_every_prefix_length) {
  for (unsigned bits = 0; bits <= 128; ++bits) {
    peer_address base{.kind = family::ipv6};
    for (unsigned i = 0; i < bits; ++i)
      base.bytes[i / 8] = static_cast<std::uint8_t>(base.bytes[i / 8] | 0x80U >> i % 8);
    char text[64];
    ASSERT_NE(::inet_ntop(AF_INET6, base.bytes.data(), text, sizeof text), nullptr);
    if (bits >= 96 && base.bytes[0] == 0) continue;
    const auto list = parsed("allow rw address:" + std::string(text) + "/" + std::to_string(bits));
    for (unsigned flipped = 0; flipped < 128; ++flipped) {
      auto peer = base;
      peer.bytes[flipped / 8] =
          static_cast<std::uint8_t>(peer.bytes[flipped / 8] ^ 0x80U >> flipped % 8);
      EXPECT_EQ(list.decide(peer, plaintext), flipped < bits ? none : read_write)
          << bits << " " << flipped;
    }
  }
}

TEST(access_list, distinguishes_unix_and_vsock_clients) {
  const auto rules = "allow rw unix\nallow ro vsock:3";
  EXPECT_EQ(decide(rules, local_client), read_write);
  EXPECT_EQ(decide(rules, vsock(3)), read_only);
  EXPECT_EQ(decide(rules, vsock(4)), none);
  EXPECT_EQ(decide(rules, at("127.0.0.1")), none);
  EXPECT_EQ(decide(rules, peer_address{}), none);
  EXPECT_EQ(decide("allow ro any", peer_address{}), read_only);
}

TEST(access_list, requires_both_an_identity_and_an_address_of_one_rule) {
  const auto rule = "allow rw psk:alice address:192.0.2.0/24";
  EXPECT_EQ(decide(rule, at("192.0.2.1"), psk("alice")), read_write);
  EXPECT_EQ(decide(rule, at("192.0.3.1"), psk("alice")), none);
  EXPECT_EQ(decide(rule, at("192.0.2.1"), psk("bob")), none);
  EXPECT_EQ(decide(rule, at("192.0.2.1"), plaintext), none);
}

TEST(access_list, obeys_the_first_rule_that_matches) {
  const auto rules =
      "deny address:192.0.2.7\n"
      "allow ro psk:alice\n"
      "allow rw psk:*\n"
      "deny psk:mallory\n"
      "allow ro address:192.0.2.0/24\n";
  EXPECT_EQ(decide(rules, at("192.0.2.7"), psk("alice")), none);
  EXPECT_EQ(decide(rules, at("192.0.2.8"), psk("alice")), read_only);
  EXPECT_EQ(decide(rules, at("192.0.2.8"), psk("bob")), read_write);
  EXPECT_EQ(decide(rules, at("192.0.2.8"), psk("mallory")), read_write);
  EXPECT_EQ(decide(rules, at("192.0.2.8")), read_only);
}

TEST(access_list, decides_by_the_address_what_an_identity_could_still_change) {
  const auto list = parsed(
      "deny address:192.0.2.7\n"
      "allow ro address:192.0.2.0/25\n"
      "allow rw psk:alice address:192.0.2.0/24\n"
      "deny psk:bob\n"
      "allow ro psk:carol address:198.51.100.0/24\n");
  EXPECT_EQ(list.decide_address(at("192.0.2.7")), none);
  EXPECT_EQ(list.decide_address(at("192.0.2.8")), read_only) << "the second rule decides";
  EXPECT_EQ(list.decide_address(at("192.0.2.200")), read_write);
  EXPECT_EQ(list.decide_address(at("198.51.100.1")), read_only);
  EXPECT_EQ(list.decide_address(at("203.0.113.1")), none);
  EXPECT_EQ(list.decide_address(local_client), none);
}

TEST(access_list, never_gives_more_than_the_decision_by_address) {
  const auto list = parsed(
      "deny psk:a address:10.0.0.0/8\nallow ro psk:a\nallow rw cert:*\ndeny address:10.1.0.0/16\n"
      "allow ro address:10.0.0.0/8\nallow rw unix");
  for (const auto& peer :
       {local_client, at("10.0.0.1"), at("10.1.0.1"), at("11.0.0.1"), at("::1"), vsock(2)})
    for (const auto& who : {plaintext, psk("a"), psk("b"), cert("CN=x")})
      EXPECT_LE(list.decide(peer, who), list.decide_address(peer)) << to_string(peer);
}

TEST(access_list, knows_whether_anybody_gets_in_without_an_identity) {
  EXPECT_TRUE(parsed("allow rw psk:a\ndeny any").requires_identity());
  EXPECT_FALSE(parsed("allow rw psk:a\nallow ro unix").requires_identity());
  EXPECT_EQ(parsed("allow ro psk:a\ndeny any").most(), read_only);
  EXPECT_EQ(parsed("allow ro psk:a\nallow rw unix").most(), read_write);
}

TEST(access_list, ignores_comments_blank_lines_and_line_ends) {
  const auto text =
      "# who may use the disk\r\n\r\n  allow\trw   psk:alice  # the owner\r\n#allow rw any";
  EXPECT_EQ(decide(text, local_client, psk("alice")), read_write);
  EXPECT_EQ(decide(text, local_client), none);
  EXPECT_EQ(decide("allow rw psk:a#b", local_client, psk("a#b")), read_write);
}

TEST(access_list, reports_the_line_and_the_mistake) {
  const std::string good = "allow rw unix\n\n";
  const auto third = [&](const std::string& line) { return problem_with(good + line + "\n"); };
  const std::string at_3 = "access:3: invalid argument (";
  for (const std::string line : {"permit rw any", "allow any", "allow", "allow rx any", "rw any",
                                 "ALLOW rw any", "allow,rw,any"})
    EXPECT_EQ(third(line), at_3 + "a rule begins with allow rw, allow ro or deny)") << line;
  for (const std::string line : {"allow rw", "deny", "deny # nobody"})
    EXPECT_EQ(third(line), at_3 +
                               "expected a condition: psk:USER, cert:SUBJECT, address:NETWORK, "
                               "vsock:CID, unix or any)");
  for (const std::string word : {"alice", "psk:", "psk", "user:alice", "unix:0", "*", "Any", ":"})
    EXPECT_EQ(third("deny " + word),
              at_3 + "unknown condition '" + word +
                  "' (expected psk:USER, cert:SUBJECT, address:NETWORK, vsock:CID, unix or any))");
  EXPECT_EQ(third("allow rw \"psk:alice"), at_3 + "a double quote is not closed)");
  EXPECT_EQ(third("allow rw any unix"), at_3 + "any cannot be combined with other conditions)");
  EXPECT_EQ(third("allow rw unix any"), at_3 + "any cannot be combined with other conditions)");
  EXPECT_EQ(third("allow rw psk:a psk:b"),
            at_3 + "a rule has at most one identity; write one rule for each)");
  EXPECT_EQ(third("allow rw unix vsock:1"),
            at_3 + "a rule has at most one address; write one rule for each)");
  for (const std::string subject : {"backup", "CN=a,b", "=x", "CN=a\\"})
    EXPECT_EQ(third("allow ro cert:" + subject),
              at_3 + "'" + subject + "' is not a certificate subject such as CN=backup,O=Example)");
  for (const std::string cid : {"-1", "x", "4294967295", "1:2"})
    EXPECT_EQ(third("allow ro vsock:" + cid), at_3 + "'" + cid + "' is not a vsock context ID)");
}

TEST(access_list, reports_mistakes_in_networks) {
  const auto problem = [](const std::string& text) {
    auto out = problem_with("deny address:" + text);
    return out.substr(out.find('(') + 1);
  };
  for (const std::string text :
       {"example.com", "192.0.2", "192.0.2.256", "[::1]", "::1%eth0", "/8"})
    EXPECT_EQ(problem(text), "'" + text + "' is not an IPv4 or IPv6 address or network)");
  EXPECT_EQ(problem("192.0.2.0/33"), "'192.0.2.0/33': expected a prefix length of 0 to 32)");
  EXPECT_EQ(problem("2001:db8::/129"), "'2001:db8::/129': expected a prefix length of 0 to 128)");
  EXPECT_EQ(problem("192.0.2.0/"), "'192.0.2.0/': expected a prefix length of 0 to 32)");
  EXPECT_EQ(problem("192.0.2.7/24"),
            "'192.0.2.7/24' is not a network; did you mean 192.0.2.0/24?)");
  EXPECT_EQ(problem("::ffff:192.0.2.7"),
            "'::ffff:192.0.2.7' never matches; write it as an IPv4 address)");
}

TEST(access_list, refuses_rules_that_cannot_match_and_lists_without_rules) {
  EXPECT_EQ(problem_with("allow rw any\n\nallow ro psk:alice"),
            "access:3: invalid argument (never used: the rule in line 1 matches all clients)");
  for (const std::string text : {"", "\n\n", "# nobody\n"})
    EXPECT_EQ(problem_with(text),
              "access: invalid argument (no rules, so nobody could connect; for example: allow rw "
              "psk:USER)");
}

TEST(access_list, shows_foreign_bytes_in_messages_as_escapes) {
  EXPECT_EQ(problem_with("deny \x1B[2J\xE2\x80\xAE"),
            "access:1: invalid argument (unknown condition '\\x1b[2J\\xe2\\x80\\xae' (expected "
            "psk:USER, cert:SUBJECT, address:NETWORK, vsock:CID, unix or any))");
}

TEST(tls_identity, is_shown_as_the_condition_that_matches_it) {
  EXPECT_EQ(to_string(plaintext), "");
  EXPECT_EQ(to_string(psk("alice")), "psk:alice");
  EXPECT_EQ(to_string(cert("CN=backup,O=Example")), "cert:CN=backup,O=Example");
  EXPECT_EQ(to_string(psk("x\n\xC2\x9B")), "psk:x\\x0a\\xc2\\x9b");
}

}  // namespace
}  // namespace xenpv::nbd
