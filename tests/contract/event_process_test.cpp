// Handles and processes: sharing through fork, and release when a process exits.
#include <gtest/gtest.h>

#include "contract/child_process.hpp"
#include "contract/event_handle.hpp"

namespace xenpv::contract {
namespace {

TEST(event_process, keeps_the_ports_of_the_parent_when_a_forked_child_exits) {
  loopback pair;
  child_process child([] { return 1U; });
  ASSERT_EQ(child.report(), 1U);
  child.stop();
  EXPECT_FALSE(waits_to_be_bound(pair.left_port));
  pair.left.notify(pair.left_port);
  EXPECT_EQ(pair.right.take(), pair.right_port);
}

TEST(event_process, keeps_ports_bound_while_a_forked_child_has_the_descriptor) {
  loopback pair;
  child_process child([] { return 1U; });
  ASSERT_EQ(child.report(), 1U);
  pair.right.close();
  EXPECT_FALSE(waits_to_be_bound(pair.left_port)) << "the child still has the open file";
  child.stop();
  EXPECT_TRUE(comes_true([&] { return waits_to_be_bound(pair.left_port); }));
}

TEST(event_process, keeps_the_ports_of_the_parent_when_the_child_closes_the_handle) {
  loopback pair;
  child_process child([&] {
    pair.right.close();
    return 1U;
  });
  ASSERT_EQ(child.report(), 1U);
  EXPECT_FALSE(waits_to_be_bound(pair.left_port));
  pair.left.notify(pair.left_port);
  EXPECT_EQ(pair.right.take(), pair.right_port);
}

TEST(event_process, lets_a_child_open_its_own_handle) {
  event_handle handle;
  const auto port = handle.bind_unbound();
  child_process child([port] {
    event_handle own;
    const auto bound = own.bind_interdomain(self, port);
    if (own.take() != bound) return 0U;
    own.unmask(bound);
    own.notify(bound);
    return own.take() == bound ? bound : 0U;
  });
  ASSERT_EQ(handle.take(), port);
  handle.notify(port);
  const auto bound = child.report();
  ASSERT_TRUE(bound);
  EXPECT_GT(*bound, 0U);
}

TEST(event_process, unbinds_the_ports_of_a_process_that_exits) {
  event_handle handle;
  const auto port = handle.bind_unbound();
  child_process child([port] {
    static event_handle kept;
    return kept.bind_interdomain(self, port);
  });
  ASSERT_TRUE(child.report());
  ASSERT_FALSE(waits_to_be_bound(port));
  child.stop();
  EXPECT_TRUE(comes_true([&] { return waits_to_be_bound(port); }));
}

TEST(event_process, unbinds_the_ports_of_a_process_that_is_killed) {
  event_handle handle;
  const auto port = handle.bind_unbound();
  child_process child([port] {
    static event_handle kept;
    return kept.bind_interdomain(self, port);
  });
  ASSERT_TRUE(child.report());
  ASSERT_FALSE(waits_to_be_bound(port));
  child.kill();
  EXPECT_TRUE(comes_true([&] { return waits_to_be_bound(port); }));
}

TEST(event_process, keeps_the_event_of_a_killed_process) {
  event_handle handle;
  const auto port = handle.bind_unbound();
  child_process child([port] {
    static event_handle kept;
    const auto bound = kept.bind_interdomain(self, port);
    kept.notify(bound);
    return bound;
  });
  ASSERT_TRUE(child.report());
  child.kill();
  EXPECT_EQ(handle.take(), port);
}

}  // namespace
}  // namespace xenpv::contract
