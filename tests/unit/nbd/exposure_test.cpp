// The message at start that states which clients can connect and write.
#include "nbd/exposure.hpp"

#include <gmock/gmock.h>

namespace xenpv::nbd {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

std::string told(const exposure_facts& facts) {
  const auto found = describe_exposure(facts);
  return found ? (found->is_warning ? "warning: " : "info: ") + found->text : "nothing";
}

access_list list(std::string_view text) {
  return access_list::parse(text, "list").value();
}

TEST(exposure, is_nothing_on_a_private_unix_socket) {
  for (const auto mode : {tls_mode::off, tls_mode::on, tls_mode::require})
    EXPECT_EQ(told({.tls = mode}), "nothing");
}

TEST(exposure, names_plain_tcp) {
  EXPECT_EQ(told({.listeners = reach::network}),
            "warning: TLS is off: anyone who can reach this server can connect and read and write "
            "the disk, and anyone on the path can eavesdrop; use --tls-psk FILE to require a key, "
            "or --tcp localhost:PORT to allow only this machine");
  EXPECT_EQ(told({.listeners = reach::local_users}),
            "info: TLS is off: any user of this machine can connect and read and write the disk; "
            "use --unix PATH to allow only its owner, or --tls-psk FILE to require a key");
}

TEST(exposure, says_read_if_nobody_can_write) {
  const auto readers = list("allow ro any");
  for (const auto& facts : {exposure_facts{.listeners = reach::network, .read_only = true},
                            exposure_facts{.listeners = reach::network, .access = &readers}}) {
    EXPECT_THAT(told(facts), HasSubstr("can connect and read the disk, and"));
    EXPECT_THAT(told(facts), Not(HasSubstr("write")));
  }
}

TEST(exposure, names_tls_that_a_client_can_leave_out) {
  EXPECT_EQ(told({.listeners = reach::network, .tls = tls_mode::on, .has_keys = true}),
            "warning: TLS is optional (--tls on): anyone who can reach this server can connect and "
            "read and write the disk, and anyone on the path can eavesdrop; use --tls require");
  EXPECT_THAT(told({.listeners = reach::network, .tls = tls_mode::on}),
              HasSubstr("; use --tls require and --tls-verify-peer, or --tls-psk FILE"));
}

TEST(exposure, names_certificates_without_verification_of_clients) {
  EXPECT_EQ(told({.listeners = reach::network, .tls = tls_mode::require}),
            "warning: clients need no certificate: anyone who can reach this server can connect "
            "and read and write the disk; use --tls-verify-peer to require one, or --tls-psk FILE "
            "to require a key");
}

TEST(exposure, is_nothing_if_clients_authenticate) {
  const auto identities = list("allow rw psk:alice\nallow ro cert:CN=backup");
  EXPECT_EQ(told({.listeners = reach::network, .tls = tls_mode::require, .has_keys = true}),
            "nothing");
  EXPECT_EQ(told({.listeners = reach::network, .tls = tls_mode::require, .verify_peer = true}),
            "nothing");
  EXPECT_EQ(told({.listeners = reach::network,
                  .tls = tls_mode::on,
                  .has_keys = true,
                  .access = &identities}),
            "nothing")
      << "the list denies plaintext clients";
}

TEST(exposure, names_the_addresses_of_an_access_list) {
  const auto addresses = list("allow rw address:192.0.2.0/24");
  EXPECT_THAT(told({.listeners = reach::network, .access = &addresses}),
              StartsWith("warning: TLS is off: all clients at the addresses in the access list can "
                         "connect and read and write the disk, and anyone on the path can "));
}

TEST(exposure, warns_of_a_list_that_admits_nobody) {
  const auto identities = list("allow rw psk:alice");
  EXPECT_THAT(told({.access = &identities}), StartsWith("warning: nobody can connect: "));
}

TEST(reach_of, depends_on_the_address_and_the_permissions) {
  using enum peer_address::family;
  EXPECT_EQ(reach_of({.kind = unix_socket}, false), reach::permitted_users);
  EXPECT_EQ(reach_of({.kind = unix_socket}, true), reach::local_users);
  EXPECT_EQ(reach_of({.kind = ipv4, .bytes = {127, 0, 0, 53}}, false), reach::local_users);
  EXPECT_EQ(reach_of({.kind = ipv4, .bytes = {192, 0, 2, 1}}, false), reach::network);
  EXPECT_EQ(reach_of({.kind = ipv4}, false), reach::network) << "all addresses";
  EXPECT_EQ(reach_of({.kind = ipv6}, false), reach::network);
  EXPECT_EQ(reach_of({.kind = vsock, .number = 1}, false), reach::local_users);
  EXPECT_EQ(reach_of({.kind = vsock, .number = 0xFFFFFFFF}, false), reach::network);
  EXPECT_EQ(reach_of({.kind = other}, false), reach::network);
}

}  // namespace
}  // namespace xenpv::nbd
