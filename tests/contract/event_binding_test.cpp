// Binding and unbinding: port numbers, access to ports, and the effects on the remote end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <set>
#include <vector>

#include "contract/event_handle.hpp"

namespace xenpv::contract {
namespace {

constexpr std::uint32_t beyond_every_abi = 0x7FFFFFFF;
constexpr unsigned virq_timer = 0;
constexpr unsigned virq_count = 24;

#ifdef __aarch64__
constexpr bool on_arm = true;
#else
constexpr bool on_arm = false;
#endif

/// Xen on ARM rejects a port for a domain that does not exist; on x86, the domain may be created
/// later.
bool lacks_another_domain() {
  return on_arm && in_dom0();
}
constexpr auto needs_a_domain = "Xen on ARM rejects a port for a domain that does not exist";

TEST(event_binding, returns_a_valid_port_for_domid_self) {
  event_handle handle;
  EXPECT_GT(handle.bind_unbound(self), 0U);
}

TEST(event_binding, returns_a_valid_port_for_the_own_domid) {
  event_handle handle;
  EXPECT_GT(handle.bind_unbound(own_domid()), 0U);
}

TEST(event_binding, returns_a_port_for_another_domain) {
  if (lacks_another_domain()) GTEST_SKIP() << needs_a_domain;
  event_handle handle;
  EXPECT_GT(handle.bind_unbound(other_domid()), 0U);
}

TEST(event_binding, connects_by_domid_self_and_by_own_domid) {
  event_handle left, right;
  const auto first = left.bind_unbound(self);
  const auto second = left.bind_unbound(own_domid());
  EXPECT_NE(right.bind_interdomain(own_domid(), first), first);
  EXPECT_NE(right.bind_interdomain(self, second), second);
}

TEST(event_binding, connects_two_ports_of_one_handle) {
  event_handle handle;
  const auto waiting = handle.bind_unbound();
  const auto bound = handle.bind_interdomain(self, waiting);
  ASSERT_EQ(handle.take(), bound);
  handle.unmask(bound);
  handle.notify(bound);
  EXPECT_EQ(handle.take(), waiting);
}

TEST(event_binding, fails_with_einval_if_the_remote_port_is_free) {
  event_handle left, right;
  const auto port = left.bind_unbound();
  left.unbind(port);
  EXPECT_EQ(attempt([&] { return xenevtchn_bind_interdomain(right.get(), self, port); }),
            failed(EINVAL));
}

TEST(event_binding, fails_with_einval_if_the_remote_port_is_out_of_range) {
  event_handle handle;
  EXPECT_EQ(
      attempt([&] { return xenevtchn_bind_interdomain(handle.get(), self, beyond_every_abi); }),
      failed(EINVAL));
}

TEST(event_binding, fails_with_einval_if_the_remote_port_is_connected) {
  loopback pair;
  event_handle third;
  EXPECT_EQ(attempt([&] { return xenevtchn_bind_interdomain(third.get(), self, pair.left_port); }),
            failed(EINVAL));
  EXPECT_EQ(attempt([&] { return xenevtchn_bind_interdomain(third.get(), self, pair.right_port); }),
            failed(EINVAL));
}

TEST(event_binding, fails_with_einval_if_the_remote_port_is_for_another_domain) {
  if (lacks_another_domain()) GTEST_SKIP() << needs_a_domain;
  event_handle left, right;
  const auto port = left.bind_unbound(other_domid());
  EXPECT_EQ(attempt([&] { return xenevtchn_bind_interdomain(right.get(), self, port); }),
            failed(EINVAL));
}

TEST(event_binding, fails_with_esrch_if_the_remote_domain_does_not_exist) {
  event_handle handle;
  EXPECT_EQ(attempt([&] { return xenevtchn_bind_interdomain(handle.get(), nobody, 1); }),
            failed(ESRCH));
}

TEST(event_binding, leaves_the_remote_port_unbound_on_failure) {
  event_handle left, right;
  const auto port = left.bind_unbound();
  ASSERT_EQ(attempt([&] { return xenevtchn_bind_interdomain(right.get(), self, port + 1000); }),
            failed(EINVAL));
  EXPECT_GT(right.bind_interdomain(self, port), 0U);
}

TEST(event_binding, reuses_the_lowest_free_port) {
  event_handle handle;
  const auto first = handle.bind_unbound();
  const auto second = handle.bind_unbound();
  ASSERT_LT(first, second);
  handle.unbind(first);
  // On a real host, the guest kernel could allocate this port number between the two calls, but
  // only while it connects a device.
  EXPECT_EQ(handle.bind_unbound(), first);
}

TEST(event_binding, fails_with_enotconn_on_a_second_unbind) {
  event_handle handle;
  const auto port = handle.bind_unbound();
  handle.unbind(port);
  EXPECT_EQ(attempt([&] { return xenevtchn_unbind(handle.get(), port); }), failed(ENOTCONN));
}

TEST(event_binding, fails_with_enotconn_to_unbind_a_port_of_another_handle) {
  event_handle owner, stranger;
  const auto port = owner.bind_unbound();
  EXPECT_EQ(attempt([&] { return xenevtchn_unbind(stranger.get(), port); }), failed(ENOTCONN));
  owner.unbind(port);
}

TEST(event_binding, fails_with_einval_to_unbind_an_out_of_range_port) {
  event_handle handle;
  EXPECT_EQ(attempt([&] { return xenevtchn_unbind(handle.get(), beyond_every_abi); }),
            failed(EINVAL));
}

TEST(event_binding, returns_the_other_end_to_unbound_on_unbind) {
  loopback pair;
  ASSERT_FALSE(waits_to_be_bound(pair.left_port));
  pair.right.unbind(pair.right_port);
  EXPECT_TRUE(waits_to_be_bound(pair.left_port));
}

TEST(event_binding, returns_the_binding_end_to_unbound_when_the_first_end_is_unbound) {
  loopback pair;
  pair.left.unbind(pair.left_port);
  EXPECT_TRUE(waits_to_be_bound(pair.right_port));
}

TEST(event_binding, unbinds_all_ports_on_close) {
  event_handle left, right;
  std::vector<std::uint32_t> ports;
  for (int i = 0; i < 3; ++i) {
    ports.push_back(left.bind_unbound());
    static_cast<void>(right.bind_interdomain(self, ports.back()));
  }
  right.close();
  for (const auto port : ports)
    EXPECT_TRUE(waits_to_be_bound(port)) << "port " << port;
}

TEST(event_binding, delivers_events_after_a_rebind_of_the_other_end) {
  loopback pair;
  pair.right.unbind(pair.right_port);
  event_handle third;
  const auto port = third.bind_interdomain(self, pair.left_port);
  ASSERT_EQ(third.take(), port);
  third.unmask(port);
  pair.left.notify(pair.left_port);
  EXPECT_EQ(third.take(), port);
  third.notify(port);
  EXPECT_EQ(pair.left.take(), pair.left_port);
}

TEST(event_binding, supports_two_hundred_ports_on_one_handle) {
  event_handle handle;
  std::set<std::uint32_t> ports;
  for (int i = 0; i < 200; ++i)
    ports.insert(handle.bind_unbound());
  EXPECT_EQ(ports.size(), 200U);
  EXPECT_THAT(ports, testing::Each(testing::Gt(0U)));
}

TEST(event_binding, frees_all_port_numbers_on_close) {
  event_handle handle;
  std::set<std::uint32_t> before;
  for (int i = 0; i < 50; ++i)
    before.insert(handle.bind_unbound());
  handle.close();
  event_handle next;
  std::set<std::uint32_t> after;
  for (int i = 0; i < 50; ++i)
    after.insert(next.bind_unbound());
  EXPECT_EQ(after, before);
}

// On ARM, Linux uses the architected timer and does not bind the VIRQ.
TEST(event_binding, fails_with_eexist_for_the_timer_virq_if_the_kernel_uses_it) {
  event_handle handle;
  EXPECT_EQ(attempt([&] { return xenevtchn_bind_virq(handle.get(), virq_timer); }),
            on_arm ? succeeded : failed(EEXIST));
}

TEST(event_binding, fails_with_einval_for_an_unknown_virq) {
  event_handle handle;
  EXPECT_EQ(attempt([&] { return xenevtchn_bind_virq(handle.get(), virq_count); }), failed(EINVAL));
  EXPECT_EQ(attempt([&] { return xenevtchn_bind_virq(handle.get(), 100'000); }), failed(EINVAL));
}

}  // namespace
}  // namespace xenpv::contract
