// A handle's file descriptor: blocking, readiness, writes, duplicates, adoption and close-on-exec.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <future>
#include <thread>
#include <vector>

#include "contract/event_handle.hpp"
#include "xenpv/base/types.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::contract {
namespace {

[[nodiscard]] outcome pending(const event_handle& handle) {
  return attempt([&] { return xenevtchn_pending(handle.get()); });
}

[[nodiscard]] bool closes_on_exec(const event_handle& handle) {
  return (::fcntl(handle.descriptor(), F_GETFD) & FD_CLOEXEC) != 0;
}

/// Returns what poll(2) reports now.
[[nodiscard]] int readiness(int descriptor) {
  pollfd entry{descriptor, POLLIN | POLLOUT, 0};
  return ::poll(&entry, 1, 0) < 0 ? -1 : entry.revents;
}

/// An epoll instance that watches one descriptor.
class watcher {
 public:
  watcher(int descriptor, std::uint32_t events) : set_(::epoll_create1(EPOLL_CLOEXEC)) {
    epoll_event entry{};
    entry.events = events;
    EXPECT_EQ(::epoll_ctl(set_.get(), EPOLL_CTL_ADD, descriptor, &entry), 0);
  }
  [[nodiscard]] bool fires(std::chrono::milliseconds timeout) {
    epoll_event entry{};
    return ::epoll_wait(set_.get(), &entry, 1, static_cast<int>(timeout.count())) == 1;
  }

 private:
  unique_fd set_;
};

TEST(event_descriptor, makes_pending_fail_with_eagain_when_nonblocking_and_empty) {
  event_handle handle;
  handle.set_nonblocking();
  EXPECT_EQ(pending(handle), failed(EAGAIN));
}

TEST(event_descriptor, makes_read_fail_with_eagain_when_drained) {
  loopback pair;
  pair.right.set_nonblocking();
  pair.left.notify(pair.left_port);
  ASSERT_EQ(pair.right.take(), pair.right_port);
  std::uint32_t port = 0;
  EXPECT_EQ(attempt([&] { return ::read(pair.right.descriptor(), &port, sizeof port); }),
            failed(EAGAIN));
}

TEST(event_descriptor, blocks_pending_until_an_event_arrives) {
  loopback pair;
  std::promise<void> started;
  auto waiting = std::async(std::launch::async, [&] {
    started.set_value();
    return xenevtchn_pending(pair.right.get());
  });
  started.get_future().wait();
  EXPECT_EQ(waiting.wait_for(quiet), std::future_status::timeout) << "returned without an event";
  pair.left.notify(pair.left_port);
  EXPECT_EQ(waiting.get(), static_cast<int>(pair.right_port));
}

TEST(event_descriptor, wakes_a_thread_that_polls) {
  loopback pair;
  std::promise<void> started;
  auto waiting = std::async(std::launch::async, [&] {
    started.set_value();
    return readable_within(pair.right.descriptor(), time_limit);
  });
  started.get_future().wait();
  pair.left.notify(pair.left_port);
  EXPECT_TRUE(waiting.get());
}

TEST(event_descriptor, is_readable_only_while_events_are_pending) {
  loopback pair;
  EXPECT_FALSE(readable_within(pair.right.descriptor(), std::chrono::milliseconds(0)));
  pair.left.notify(pair.left_port);
  EXPECT_TRUE(readable_within(pair.right.descriptor(), time_limit));
  ASSERT_EQ(pair.right.take(), pair.right_port);
  EXPECT_FALSE(readable_within(pair.right.descriptor(), std::chrono::milliseconds(0)))
      << "a masked port must not make the descriptor readable";
}

TEST(event_descriptor, keeps_level_triggered_epoll_firing) {
  loopback pair;
  watcher set(pair.right.descriptor(), EPOLLIN);
  pair.left.notify(pair.left_port);
  EXPECT_TRUE(set.fires(time_limit));
  EXPECT_TRUE(set.fires(quiet));
  ASSERT_EQ(pair.right.take(), pair.right_port);
  EXPECT_FALSE(set.fires(quiet));
}

TEST(event_descriptor, fires_edge_triggered_epoll_for_each_event_after_a_drain) {
  loopback pair;
  pair.right.set_nonblocking();
  watcher set(pair.right.descriptor(), EPOLLIN | EPOLLET);
  static_cast<void>(set.fires(std::chrono::milliseconds(0)));
  for (int i = 0; i < 20; ++i) {
    pair.left.notify(pair.left_port);
    ASSERT_TRUE(set.fires(time_limit)) << "event " << i;
    ASSERT_EQ(pair.right.take(), pair.right_port);
    ASSERT_EQ(pending(pair.right), failed(EAGAIN));
    pair.right.unmask(pair.right_port);
  }
}

TEST(event_descriptor, fires_edge_triggered_epoll_when_unmask_delivers_an_event) {
  loopback pair;
  pair.right.set_nonblocking();
  pair.left.notify(pair.left_port);
  ASSERT_EQ(pair.right.take(), pair.right_port);
  watcher set(pair.right.descriptor(), EPOLLIN | EPOLLET);
  static_cast<void>(set.fires(std::chrono::milliseconds(0)));
  pair.left.notify(pair.left_port);
  ASSERT_FALSE(set.fires(quiet));
  pair.right.unmask(pair.right_port);
  EXPECT_TRUE(set.fires(time_limit));
}

TEST(event_descriptor, is_open_for_reading_and_writing) {
  const event_handle handle;
  EXPECT_EQ(::fcntl(handle.descriptor(), F_GETFL) & O_ACCMODE, O_RDWR);
}

TEST(event_descriptor, is_always_writable) {
  loopback pair;
  EXPECT_EQ(readiness(pair.right.descriptor()), POLLOUT);
  pair.left.notify(pair.left_port);
  ASSERT_TRUE(readable_within(pair.right.descriptor(), time_limit));
  EXPECT_EQ(readiness(pair.right.descriptor()), POLLIN | POLLOUT);
  ASSERT_EQ(pair.right.take(), pair.right_port);
  EXPECT_EQ(readiness(pair.right.descriptor()), POLLOUT) << "although a port is masked";
}

TEST(event_descriptor, unmasks_the_ports_that_are_written) {
  event_handle left, right;
  std::vector<std::uint32_t> waiting, bound;
  for (int i = 0; i < 3; ++i) {
    waiting.push_back(left.bind_unbound());
    bound.push_back(right.bind_interdomain(self, waiting.back()));
  }
  for (int i = 0; i < 3; ++i)
    ASSERT_TRUE(right.take());  // all ports are masked now
  for (const auto port : waiting)
    left.notify(port);
  ASSERT_TRUE(right.stays_quiet());
  const std::array written{bound[2], bound[0]};
  EXPECT_EQ(::write(right.descriptor(), written.data(), sizeof written), 8);
  std::vector<std::uint32_t> seen{right.take().value(), right.take().value()};
  EXPECT_THAT(seen, testing::UnorderedElementsAre(bound[0], bound[2]));
  EXPECT_TRUE(right.stays_quiet());
}

TEST(event_descriptor, accepts_only_whole_ports) {
  loopback pair;
  pair.left.notify(pair.left_port);
  ASSERT_EQ(pair.right.take(), pair.right_port);
  pair.left.notify(pair.left_port);
  const std::array ports{pair.right_port, pair.right_port};
  EXPECT_EQ(::write(pair.right.descriptor(), ports.data(), 0), 0);
  EXPECT_EQ(::write(pair.right.descriptor(), ports.data(), 3), 0);
  EXPECT_TRUE(pair.right.stays_quiet()) << "still masked";
  EXPECT_EQ(::write(pair.right.descriptor(), ports.data(), 7), 4);
  EXPECT_EQ(pair.right.take(), pair.right_port);
}

TEST(event_descriptor, ignores_written_ports_of_other_handles) {
  loopback pair;
  pair.left.notify(pair.left_port);
  ASSERT_EQ(pair.right.take(), pair.right_port);
  pair.left.notify(pair.left_port);
  const std::array ports{pair.left_port, std::uint32_t{0x7FFFFFFF}, std::uint32_t{0}};
  EXPECT_EQ(::write(pair.right.descriptor(), ports.data(), sizeof ports), 12);
  EXPECT_EQ(::write(pair.left.descriptor(), &pair.right_port, 4), 4);
  EXPECT_TRUE(pair.right.stays_quiet()) << "still masked";
}

TEST(event_descriptor, accepts_at_most_a_page) {
  loopback pair;
  const std::vector<std::uint32_t> ports(2 * page_size / 4, pair.right_port);
  EXPECT_EQ(::write(pair.right.descriptor(), ports.data(), 2 * page_size),
            static_cast<ssize_t>(page_size));
}

TEST(event_descriptor, is_the_same_at_every_call) {
  event_handle handle;
  EXPECT_GE(handle.descriptor(), 0);
  EXPECT_EQ(handle.descriptor(), handle.descriptor());
}

TEST(event_descriptor, closes_on_exec_by_default) {
  EXPECT_TRUE(closes_on_exec(event_handle()));
}

TEST(event_descriptor, stays_open_on_exec_if_requested) {
  EXPECT_FALSE(closes_on_exec(event_handle(XENEVTCHN_NO_CLOEXEC)));
}

TEST(event_descriptor, cannot_be_opened_with_unknown_flags) {
  errno = 0;
  EXPECT_EQ(xenevtchn_open(nullptr, 1U << 7), nullptr);
  EXPECT_EQ(errno, EINVAL);
}

TEST(event_descriptor, accepts_close_of_a_null_handle) {
  EXPECT_EQ(xenevtchn_close(nullptr), 0);
}

TEST(event_descriptor, keeps_ports_bound_while_a_duplicate_is_open) {
  loopback pair;
  auto duplicate = unique_fd::duplicate(pair.right.descriptor());
  pair.right.close();
  EXPECT_FALSE(waits_to_be_bound(pair.left_port))
      << "closing one of two references unbound the port";
  duplicate.reset();
  EXPECT_TRUE(comes_true([&] { return waits_to_be_bound(pair.left_port); }));
}

TEST(event_descriptor, delivers_events_through_a_duplicate) {
  loopback pair;
  const auto duplicate = unique_fd::duplicate(pair.right.descriptor());
  pair.right.close();
  pair.left.notify(pair.left_port);
  ASSERT_TRUE(readable_within(duplicate.get(), time_limit));
  std::uint32_t port = 0;
  ASSERT_EQ(::read(duplicate.get(), &port, sizeof port), 4);
  EXPECT_EQ(port, pair.right_port);
}

TEST(event_descriptor, can_be_adopted_by_fdopen) {
  loopback pair;
  event_handle adopted(
      xenevtchn_fdopen(nullptr, unique_fd::duplicate(pair.right.descriptor()).release(), 0));
  pair.left.notify(pair.left_port);
  EXPECT_EQ(adopted.take(), pair.right_port);
  adopted.notify(pair.right_port);
  EXPECT_EQ(pair.left.take(), pair.left_port);
}

TEST(event_descriptor, belongs_to_the_adopting_handle_after_the_first_is_closed) {
  loopback pair;
  event_handle adopted(
      xenevtchn_fdopen(nullptr, unique_fd::duplicate(pair.right.descriptor()).release(), 0));
  pair.right.close();
  pair.left.notify(pair.left_port);
  EXPECT_EQ(adopted.take(), pair.right_port);
  adopted.unmask(pair.right_port);
  adopted.notify(pair.right_port);
  EXPECT_EQ(pair.left.take(), pair.left_port);
  adopted.close();
  EXPECT_TRUE(comes_true([&] { return waits_to_be_bound(pair.left_port); }));
}

TEST(event_descriptor, cannot_be_adopted_with_flags) {
  event_handle handle;
  const auto duplicate = unique_fd::duplicate(handle.descriptor());
  errno = 0;
  EXPECT_EQ(xenevtchn_fdopen(nullptr, duplicate.get(), XENEVTCHN_NO_CLOEXEC), nullptr);
  EXPECT_EQ(errno, EINVAL);
}

}  // namespace
}  // namespace xenpv::contract
