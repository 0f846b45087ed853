// Events between two domains.
#include <gtest/gtest.h>

#include <cerrno>

#include "contract/peer/client.hpp"

namespace xenpv::contract {
namespace {

constexpr std::uint32_t a_moment = 50;

class peer_event : public peer_case {
 protected:
  /// Creates a channel whose remote end the peer binds. The peer consumes the first event.
  void connect() {
    here_ = events_.bind_unbound(dom0);
    there_ = peer().must("bind", here_).number(0);
    ASSERT_EQ(peer().must("take", there_, long_enough).number(0), 1U);
    peer().must("unmask", there_);
  }

  event_handle events_;
  std::uint32_t here_ = 0;
  std::uint32_t there_ = 0;
};

TEST_F(peer_event, starts_with_one_pending_event_at_the_binding_domain) {
  const auto here = events_.bind_unbound(dom0);
  const auto there = peer().must("bind", here).number(0);
  EXPECT_EQ(peer().must("take", there, long_enough).number(0), 1U);
  EXPECT_TRUE(events_.stays_quiet());
}

TEST_F(peer_event, is_delivered_in_both_directions) {
  connect();
  events_.notify(here_);
  EXPECT_EQ(peer().must("take", there_, long_enough).number(0), 1U);
  peer().must("notify", there_, 1U);
  EXPECT_EQ(events_.take(), here_);
}

TEST_F(peer_event, is_delivered_in_both_directions_if_the_guest_binds) {
  const auto there = peer().must("unbound").number(0);
  const auto here = events_.bind_interdomain(dom0, there);
  ASSERT_EQ(events_.take(), here) << "the first event is delivered to the binding end";
  events_.unmask(here);
  events_.notify(here);
  EXPECT_EQ(peer().must("take", there, long_enough).number(0), 1U);
  peer().must("notify", there, 1U);
  EXPECT_EQ(events_.take(), here);
}

TEST_F(peer_event, is_merged_while_the_port_of_the_peer_is_masked) {
  connect();
  events_.notify(here_);
  ASSERT_EQ(peer().must("take", there_, long_enough).number(0), 1U);
  for (int i = 0; i < 10; ++i)
    events_.notify(here_);
  EXPECT_EQ(peer().must("take", there_, a_moment).number(0), 0U);
  peer().must("unmask", there_);
  EXPECT_EQ(peer().must("take", there_, long_enough).number(0), 1U);
  peer().must("unmask", there_);
  EXPECT_EQ(peer().must("take", there_, a_moment).number(0), 0U);
}

TEST_F(peer_event, is_merged_while_the_local_port_is_masked) {
  connect();
  peer().must("notify", there_, 1U);
  ASSERT_EQ(events_.take(), here_);
  peer().must("notify", there_, 10U);
  EXPECT_TRUE(events_.stays_quiet());
  events_.unmask(here_);
  ASSERT_EQ(events_.take(), here_);
  events_.unmask(here_);
  EXPECT_TRUE(events_.stays_quiet());
}

TEST_F(peer_event, cannot_be_bound_to_a_port_for_another_domain) {
  const auto here = events_.bind_unbound(self);
  EXPECT_EQ(peer().ask("bind", here).error, EINVAL);
}

TEST_F(peer_event, cannot_be_bound_to_a_connected_port) {
  connect();
  EXPECT_EQ(peer().ask("bind", here_).error, EINVAL);
}

TEST_F(peer_event, leaves_the_local_port_unbound_when_the_peer_unbinds) {
  connect();
  peer().must("unbind", there_);
  EXPECT_EQ(attempt([&] { return xenevtchn_notify(events_.get(), here_); }), succeeded)
      << "dropped silently";
  const auto again = peer().must("bind", here_).number(0);
  ASSERT_EQ(peer().must("take", again, long_enough).number(0), 1U);
  peer().must("unmask", again);
  events_.notify(here_);
  EXPECT_EQ(peer().must("take", again, long_enough).number(0), 1U);
}

TEST_F(peer_event, is_silently_dropped_at_the_peer_after_unbind) {
  connect();
  events_.unbind(here_);
  EXPECT_EQ(peer().ask("notify", there_, 1U).error, 0);
  EXPECT_TRUE(events_.stays_quiet());
}

TEST_F(peer_event, leaves_the_local_port_unbound_when_the_peer_dies) {
  connect();
  replace_worker();
  EXPECT_EQ(attempt([&] { return xenevtchn_notify(events_.get(), here_); }), succeeded);
  EXPECT_TRUE(comes_true([&] { return peer().ask("bind", here_).error == 0; }));
}

TEST_F(peer_event, stays_pending_after_the_death_of_the_peer) {
  connect();
  peer().must("notify", there_, 1U);
  replace_worker();
  EXPECT_EQ(events_.take(), here_);
}

TEST_F(peer_event, is_distinguished_by_port) {
  const auto first = events_.bind_unbound(dom0);
  const auto second = events_.bind_unbound(dom0);
  const auto first_there = peer().must("bind", first).number(0);
  const auto second_there = peer().must("bind", second).number(0);
  peer().must("notify", second_there, 1U);
  EXPECT_EQ(events_.take(), second);
  peer().must("notify", first_there, 1U);
  EXPECT_EQ(events_.take(), first);
}

}  // namespace
}  // namespace xenpv::contract
