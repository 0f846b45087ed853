// Event delivery: which handle receives an event, when, and how notifications are merged.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <thread>
#include <vector>

#include "contract/event_handle.hpp"

namespace xenpv::contract {
namespace {

TEST(event_delivery, starts_with_one_pending_event_at_the_binding_end) {
  event_handle left, right;
  const auto waiting = left.bind_unbound();
  const auto bound = right.bind_interdomain(self, waiting);
  EXPECT_EQ(right.take(), bound);
  right.unmask(bound);
  EXPECT_TRUE(right.stays_quiet());
  EXPECT_TRUE(left.stays_quiet()) << "no event at the unbound end";
}

TEST(event_delivery, starts_without_an_event_on_an_unbound_port) {
  event_handle handle;
  static_cast<void>(handle.bind_unbound());
  EXPECT_TRUE(handle.stays_quiet());
}

TEST(event_delivery, reaches_the_other_end_in_both_directions) {
  loopback pair;
  pair.left.notify(pair.left_port);
  EXPECT_EQ(pair.right.take(), pair.right_port);
  pair.right.notify(pair.right_port);
  EXPECT_EQ(pair.left.take(), pair.left_port);
}

TEST(event_delivery, does_not_echo_to_the_sender) {
  loopback pair;
  pair.left.notify(pair.left_port);
  ASSERT_TRUE(pair.right.take());
  EXPECT_TRUE(pair.left.stays_quiet());
}

TEST(event_delivery, is_withheld_while_the_port_is_masked) {
  loopback pair;
  pair.left.notify(pair.left_port);
  ASSERT_EQ(pair.right.take(), pair.right_port);
  pair.left.notify(pair.left_port);
  EXPECT_TRUE(pair.right.stays_quiet());
  pair.right.unmask(pair.right_port);
  EXPECT_EQ(pair.right.take(), pair.right_port);
}

TEST(event_delivery, merges_notifications_of_a_masked_port_into_one) {
  loopback pair;
  pair.left.notify(pair.left_port);
  ASSERT_EQ(pair.right.take(), pair.right_port);
  for (int i = 0; i < 100; ++i)
    pair.left.notify(pair.left_port);
  pair.right.unmask(pair.right_port);
  EXPECT_EQ(pair.right.take(), pair.right_port);
  pair.right.unmask(pair.right_port);
  EXPECT_TRUE(pair.right.stays_quiet());
}

TEST(event_delivery, merges_many_notifications_into_one_or_two_events_without_a_reader) {
  loopback pair;
  for (int i = 0; i < 100; ++i)
    pair.left.notify(pair.left_port);
  // The driver queues the first event and masks the port; Xen merges the other notifications while
  // the port is masked. All notifications are merged into one event if they arrive before the
  // receiving vCPU takes its first upcall.
  int events = 0;
  while (const auto port = pair.right.take(events == 0 ? time_limit : quiet)) {
    EXPECT_EQ(*port, pair.right_port);
    pair.right.unmask(*port);
    ++events;
  }
  EXPECT_THAT(events, testing::AllOf(testing::Ge(1), testing::Le(2)));
}

TEST(event_delivery, sends_no_event_after_unmask_without_a_new_notification) {
  loopback pair;
  pair.left.notify(pair.left_port);
  ASSERT_EQ(pair.right.take(), pair.right_port);
  pair.right.unmask(pair.right_port);
  EXPECT_TRUE(pair.right.stays_quiet());
  EXPECT_EQ(attempt([&] { return xenevtchn_unmask(pair.right.get(), pair.right_port); }),
            succeeded);
  EXPECT_TRUE(pair.right.stays_quiet());
}

TEST(event_delivery, silently_drops_a_notification_of_an_unconnected_port) {
  event_handle handle;
  const auto port = handle.bind_unbound();
  EXPECT_EQ(attempt([&] { return xenevtchn_notify(handle.get(), port); }), succeeded);
  EXPECT_TRUE(handle.stays_quiet());
}

TEST(event_delivery, silently_drops_a_notification_after_the_peer_has_closed) {
  loopback pair;
  pair.right.close();
  EXPECT_EQ(attempt([&] { return xenevtchn_notify(pair.left.get(), pair.left_port); }), succeeded);
  EXPECT_TRUE(pair.left.stays_quiet());
}

TEST(event_delivery, fails_with_enotconn_to_notify_a_port_of_another_handle) {
  loopback pair;
  EXPECT_EQ(attempt([&] { return xenevtchn_notify(pair.right.get(), pair.left_port); }),
            failed(ENOTCONN));
  EXPECT_TRUE(pair.right.stays_quiet());
}

TEST(event_delivery, fails_with_enotconn_to_notify_an_unbound_port) {
  loopback pair;
  pair.left.unbind(pair.left_port);
  EXPECT_EQ(attempt([&] { return xenevtchn_notify(pair.left.get(), pair.left_port); }),
            failed(ENOTCONN));
}

TEST(event_delivery, keeps_an_event_until_it_is_read) {
  loopback pair;
  pair.left.notify(pair.left_port);
  ASSERT_TRUE(readable_within(pair.right.descriptor(), time_limit));
  EXPECT_TRUE(readable_within(pair.right.descriptor(), quiet))
      << "polling does not consume the event";
  EXPECT_EQ(pair.right.take(), pair.right_port);
}

TEST(event_delivery, keeps_an_event_after_its_sender_has_closed) {
  loopback pair;
  pair.left.notify(pair.left_port);
  pair.left.close();
  EXPECT_EQ(pair.right.take(), pair.right_port);
}

TEST(event_delivery, ignores_unmask_of_a_port_of_another_handle) {
  loopback pair;
  pair.left.notify(pair.left_port);
  ASSERT_EQ(pair.right.take(), pair.right_port);
  pair.left.notify(pair.left_port);
  EXPECT_EQ(attempt([&] { return xenevtchn_unmask(pair.left.get(), pair.right_port); }), succeeded)
      << "the driver ignores ports of other handles and reports success";
  EXPECT_TRUE(pair.right.stays_quiet()) << "still masked";
}

TEST(event_delivery, ignores_unmask_of_an_unbound_port) {
  event_handle handle;
  const auto port = handle.bind_unbound();
  handle.unbind(port);
  EXPECT_EQ(attempt([&] { return xenevtchn_unmask(handle.get(), port); }), succeeded);
}

TEST(event_delivery, goes_to_the_handle_that_bound_the_port) {
  loopback first, second;
  second.left.notify(second.left_port);
  EXPECT_EQ(second.right.take(), second.right_port);
  EXPECT_TRUE(first.right.stays_quiet());
}

TEST(event_delivery, masks_each_port_separately) {
  event_handle left, right;
  const auto first = right.bind_interdomain(self, left.bind_unbound());
  const auto waiting = left.bind_unbound();
  const auto second = right.bind_interdomain(self, waiting);
  std::vector<std::uint32_t> seen{right.take().value(), right.take().value()};
  ASSERT_THAT(seen, testing::UnorderedElementsAre(first, second));
  right.unmask(second);
  left.notify(waiting);
  EXPECT_EQ(right.take(), second) << "the first port is still masked and must not block the second";
}

TEST(event_delivery, returns_many_ports_in_one_read) {
  constexpr std::size_t count = 100;
  event_handle left, right;
  std::vector<std::uint32_t> bound;
  for (std::size_t i = 0; i < count; ++i)
    bound.push_back(right.bind_interdomain(self, left.bind_unbound()));
  // Each new port is pending once. A read returns only the events that are pending when it is
  // called, so read until all have arrived.
  std::vector<std::uint32_t> seen;
  std::size_t largest = 0;
  while (seen.size() < count) {
    ASSERT_TRUE(readable_within(right.descriptor(), time_limit))
        << seen.size() << " ports received";
    std::array<std::uint32_t, 1024> buffer{};
    const auto bytes = ::read(right.descriptor(), buffer.data(), sizeof buffer);
    ASSERT_GT(bytes, 0);
    ASSERT_EQ(bytes % 4, 0);
    const auto ports = static_cast<std::size_t>(bytes) / 4;
    largest = std::max(largest, ports);
    seen.insert(seen.end(), buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(ports));
  }
  EXPECT_THAT(seen, testing::UnorderedElementsAreArray(bound));
  EXPECT_GT(largest, 1U) << "each read returned only one port";
}

TEST(event_delivery, keeps_events_that_do_not_fit_into_the_buffer) {
  event_handle left, right;
  std::vector<std::uint32_t> bound;
  for (int i = 0; i < 3; ++i)
    bound.push_back(right.bind_interdomain(self, left.bind_unbound()));
  std::vector<std::uint32_t> seen;
  while (seen.size() < bound.size()) {
    ASSERT_TRUE(readable_within(right.descriptor(), time_limit));
    std::uint32_t port = 0;
    ASSERT_EQ(::read(right.descriptor(), &port, sizeof port), 4);
    seen.push_back(port);
  }
  EXPECT_THAT(seen, testing::UnorderedElementsAreArray(bound));
  EXPECT_TRUE(right.stays_quiet());
}

TEST(event_delivery, loses_no_event_in_a_thousand_round_trips_of_two_threads) {
  constexpr int rounds = 1000;
  loopback pair;
  std::thread echo([&] {
    for (int i = 0; i < rounds; ++i) {
      const int port = xenevtchn_pending(pair.right.get());
      if (port < 0) return;
      xenevtchn_unmask(pair.right.get(), static_cast<std::uint32_t>(port));
      xenevtchn_notify(pair.right.get(), static_cast<std::uint32_t>(port));
    }
  });
  int done = 0;
  for (; done < rounds; ++done) {
    pair.left.notify(pair.left_port);
    if (pair.left.take() != pair.left_port) break;
    pair.left.unmask(pair.left_port);
  }
  EXPECT_EQ(done, rounds);
  // A blocked echo thread cannot be joined, so send events until its rounds are done.
  for (int i = done; i < rounds; ++i) {
    pair.left.notify(pair.left_port);
    static_cast<void>(pair.left.take(quiet));
    pair.left.unmask(pair.left_port);
  }
  echo.join();
}

}  // namespace
}  // namespace xenpv::contract
