// xenevtchn_restrict: limits a handle to one domain, irreversibly, and rejects domain 0.
#include <gtest/gtest.h>

#include <cerrno>

#include "contract/event_handle.hpp"

namespace xenpv::contract {
namespace {

constexpr unsigned virq_debug = 1;

[[nodiscard]] outcome restrict_to(const event_handle& handle, std::uint32_t domain) {
  return attempt([&] { return xenevtchn_restrict(handle.get(), static_cast<domid_t>(domain)); });
}

TEST(event_restrict, fails_with_einval_for_domain_0) {
  event_handle handle;
  EXPECT_EQ(restrict_to(handle, 0), failed(EINVAL));
  EXPECT_GT(handle.bind_unbound(), 0U);
}

TEST(event_restrict, fails_with_einval_for_reserved_domids) {
  event_handle handle;
  EXPECT_EQ(restrict_to(handle, self), failed(EINVAL));
  EXPECT_GT(handle.bind_unbound(), 0U);
}

TEST(event_restrict, forbids_new_unbound_ports_and_virqs) {
  event_handle handle;
  ASSERT_EQ(restrict_to(handle, nobody), succeeded);
  EXPECT_EQ(attempt([&] { return xenevtchn_bind_unbound_port(handle.get(), nobody); }),
            failed(EACCES));
  EXPECT_EQ(attempt([&] { return xenevtchn_bind_virq(handle.get(), virq_debug); }), failed(EACCES));
}

TEST(event_restrict, allows_interdomain_only_to_that_domain) {
  if (in_dom0()) GTEST_SKIP() << "Linux does not restrict a handle to domain 0";
  event_handle waiting, restricted;
  const auto port = waiting.bind_unbound(own_domid());
  ASSERT_EQ(restrict_to(restricted, own_domid()), succeeded);
  EXPECT_EQ(attempt([&] { return xenevtchn_bind_interdomain(restricted.get(), nobody, port); }),
            failed(EACCES));
  // The driver compares the domid as passed, before Xen resolves DOMID_SELF.
  EXPECT_EQ(attempt([&] { return xenevtchn_bind_interdomain(restricted.get(), self, port); }),
            failed(EACCES));
  EXPECT_GT(restricted.bind_interdomain(own_domid(), port), 0U);
}

TEST(event_restrict, cannot_be_repeated) {
  event_handle handle;
  ASSERT_EQ(restrict_to(handle, nobody), succeeded);
  EXPECT_EQ(restrict_to(handle, nobody), failed(EACCES));
  EXPECT_EQ(restrict_to(handle, nobody + 1), failed(EACCES));
}

TEST(event_restrict, keeps_existing_ports_usable) {
  loopback pair;
  ASSERT_EQ(restrict_to(pair.left, nobody), succeeded);
  pair.left.notify(pair.left_port);
  EXPECT_EQ(pair.right.take(), pair.right_port);
  pair.left.unbind(pair.left_port);
}

TEST(event_restrict, does_not_affect_other_handles) {
  event_handle restricted, other;
  ASSERT_EQ(restrict_to(restricted, nobody), succeeded);
  EXPECT_GT(other.bind_unbound(), 0U);
}

}  // namespace
}  // namespace xenpv::contract
