// /dev/xen/evtchn without libxenevtchn: the requests of Linux's driver, and reads of port numbers.
// event_descriptor_test.cpp tests poll and write.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <stdexcept>
#include <vector>

#include "contract/device.hpp"

namespace xenpv::contract {
namespace {

constexpr std::uint32_t no_such_port = 0x7FFFFFFF;

class raw_events : public device {
 public:
  explicit raw_events(int flags = O_RDWR | O_NONBLOCK) : device("/dev/xen/evtchn", flags) {}

  [[nodiscard]] std::uint32_t bind_unbound() const {
    ioctl_evtchn_bind_unbound_port argument{self};
    return must(IOCTL_EVTCHN_BIND_UNBOUND_PORT, argument);
  }
  [[nodiscard]] std::uint32_t bind_interdomain(std::uint32_t remote_port) const {
    ioctl_evtchn_bind_interdomain argument{self, remote_port};
    return must(IOCTL_EVTCHN_BIND_INTERDOMAIN, argument);
  }
  [[nodiscard]] outcome notify(std::uint32_t port) const {
    ioctl_evtchn_notify argument{port};
    return request(IOCTL_EVTCHN_NOTIFY, argument);
  }
  [[nodiscard]] outcome unbind(std::uint32_t port) const {
    ioctl_evtchn_unbind argument{port};
    return request(IOCTL_EVTCHN_UNBIND, argument);
  }
  /// Reads one port, which stays masked. Returns 0 if no event arrives in time.
  [[nodiscard]] std::uint32_t take(std::chrono::milliseconds timeout = time_limit) const {
    std::uint32_t port = 0;
    if (!readable_within(descriptor(), timeout)) return 0;
    return ::read(descriptor(), &port, sizeof port) == sizeof port ? port : 0;
  }
  void unmask(std::uint32_t port) const {
    if (::write(descriptor(), &port, sizeof port) != sizeof port)
      throw std::system_error(errno, std::generic_category(), "write");
  }
  [[nodiscard]] bool stays_quiet() const { return !readable_within(descriptor(), quiet); }
};

/// Two open files, connected by one event channel whose first event has been handled.
struct raw_pair {
  raw_events left, right;
  std::uint32_t left_port = left.bind_unbound();
  std::uint32_t right_port = right.bind_interdomain(left_port);

  raw_pair() {
    if (right.take() != right_port) throw std::runtime_error("a new port was not pending");
    right.unmask(right_port);
  }
};

TEST(device_evtchn, carries_events_in_both_directions) {
  raw_pair pair;
  EXPECT_EQ(pair.left.notify(pair.left_port), succeeded);
  EXPECT_EQ(pair.right.take(), pair.right_port);
  EXPECT_EQ(pair.right.notify(pair.right_port), succeeded);
  EXPECT_EQ(pair.left.take(), pair.left_port);
}

TEST(device_evtchn, masks_a_port_from_read_to_write) {
  raw_pair pair;
  ASSERT_EQ(pair.left.notify(pair.left_port), succeeded);
  ASSERT_EQ(pair.right.take(), pair.right_port);
  ASSERT_EQ(pair.left.notify(pair.left_port), succeeded);
  EXPECT_TRUE(pair.right.stays_quiet());
  pair.right.unmask(pair.right_port);
  EXPECT_EQ(pair.right.take(), pair.right_port);
}

TEST(device_evtchn, unbinds_a_port_once) {
  raw_pair pair;
  EXPECT_EQ(pair.right.unbind(pair.left_port), failed(ENOTCONN)) << "the port of the other file";
  EXPECT_EQ(pair.right.unbind(pair.right_port), succeeded);
  EXPECT_EQ(pair.right.unbind(pair.right_port), failed(ENOTCONN));
  EXPECT_GT(pair.right.bind_interdomain(pair.left_port), 0U) << "the other end is unbound again";
}

TEST(device_evtchn, checks_the_port_of_notify_and_unbind) {
  raw_pair pair;
  EXPECT_EQ(pair.right.notify(pair.left_port), failed(ENOTCONN));
  EXPECT_EQ(pair.right.notify(no_such_port), failed(ENOTCONN));
  EXPECT_EQ(pair.right.unbind(no_such_port), failed(EINVAL));
}

TEST(device_evtchn, checks_the_remote_end_of_a_binding) {
  raw_events events;
  ioctl_evtchn_bind_interdomain free_port{self, no_such_port};
  EXPECT_EQ(events.request(IOCTL_EVTCHN_BIND_INTERDOMAIN, free_port), failed(EINVAL));
  ioctl_evtchn_bind_interdomain missing_domain{nobody, 1};
  EXPECT_EQ(events.request(IOCTL_EVTCHN_BIND_INTERDOMAIN, missing_domain), failed(ESRCH));
  ioctl_evtchn_bind_virq unknown_virq{100};
  EXPECT_EQ(events.request(IOCTL_EVTCHN_BIND_VIRQ, unknown_virq), failed(EINVAL));
}

TEST(device_evtchn, can_be_restricted_to_a_domain_other_than_0) {
  raw_events events;
  ioctl_evtchn_restrict_domid restriction{0};
  EXPECT_EQ(events.request(IOCTL_EVTCHN_RESTRICT_DOMID, restriction), failed(EINVAL));
  restriction.domid = nobody;
  EXPECT_EQ(events.request(IOCTL_EVTCHN_RESTRICT_DOMID, restriction), succeeded);
  EXPECT_EQ(events.request(IOCTL_EVTCHN_RESTRICT_DOMID, restriction), failed(EACCES));
  ioctl_evtchn_bind_unbound_port bind{self};
  EXPECT_EQ(events.request(IOCTL_EVTCHN_BIND_UNBOUND_PORT, bind), failed(EACCES));
}

TEST(device_evtchn, fails_with_efault_without_an_argument) {
  raw_events events;
  EXPECT_EQ(events.request(IOCTL_EVTCHN_BIND_UNBOUND_PORT, nullptr), failed(EFAULT));
  EXPECT_EQ(events.request(IOCTL_EVTCHN_BIND_INTERDOMAIN, nullptr), failed(EFAULT));
  EXPECT_EQ(events.request(IOCTL_EVTCHN_NOTIFY, nullptr), failed(EFAULT));
  EXPECT_EQ(events.request(IOCTL_EVTCHN_UNBIND, nullptr), failed(EFAULT));
}

// Unlike other drivers, evtchn does not fail with ENOTTY.
TEST(device_evtchn, fails_with_enosys_for_an_unknown_request) {
  raw_events events;
  EXPECT_EQ(events.request(unknown_request('E'), nullptr), failed(ENOSYS));
}

TEST(device_evtchn, discards_events_on_reset_but_keeps_their_ports_masked) {
  raw_pair pair;
  ASSERT_EQ(pair.left.notify(pair.left_port), succeeded);
  ASSERT_TRUE(readable_within(pair.right.descriptor(), time_limit));
  EXPECT_EQ(pair.right.request(IOCTL_EVTCHN_RESET, nullptr), succeeded);
  EXPECT_TRUE(pair.right.stays_quiet());
  ASSERT_EQ(pair.left.notify(pair.left_port), succeeded);
  EXPECT_TRUE(pair.right.stays_quiet()) << "the port is still masked";
  pair.right.unmask(pair.right_port);
  EXPECT_EQ(pair.right.take(), pair.right_port);
}

TEST(device_evtchn, reads_only_whole_port_numbers) {
  raw_events left, right;
  std::vector<std::uint32_t> ports;
  for (int i = 0; i < 2; ++i)
    ports.push_back(right.bind_interdomain(left.bind_unbound()));
  std::array<std::uint32_t, 2> buffer{};
  // Both ports are pending from the start.
  ASSERT_TRUE(readable_within(right.descriptor(), time_limit));
  EXPECT_EQ(::read(right.descriptor(), buffer.data(), 0), 0);
  EXPECT_EQ(::read(right.descriptor(), buffer.data(), 3), 0) << "too short for a port";
  EXPECT_EQ(buffer[0], 0U);
  EXPECT_EQ(::read(right.descriptor(), buffer.data(), 7), 4);
  const auto first = buffer[0];
  EXPECT_EQ(buffer[1], 0U);
  EXPECT_NE(std::find(ports.begin(), ports.end(), first), ports.end());
  EXPECT_EQ(right.take(), first == ports[0] ? ports[1] : ports[0]);
}

TEST(device_evtchn, fails_to_read_with_eagain_if_nonblocking) {
  raw_pair pair;
  std::uint32_t port = 0;
  EXPECT_EQ(attempt([&] { return ::read(pair.right.descriptor(), &port, sizeof port); }),
            failed(EAGAIN));
  EXPECT_EQ(::read(pair.right.descriptor(), &port, 3), 0);
}

TEST(device_evtchn, has_no_position_and_cannot_be_mapped) {
  raw_events events;
  EXPECT_EQ(attempt([&] { return ::lseek(events.descriptor(), 0, SEEK_SET); }), failed(ESPIPE));
  EXPECT_EQ(device_pages(events, 0, 1).result(), failed(ENODEV));
}

TEST(device_evtchn, unbinds_all_ports_on_close) {
  raw_pair pair;
  pair.right.close();
  raw_events next;
  EXPECT_GT(next.bind_interdomain(pair.left_port), 0U);
}

}  // namespace
}  // namespace xenpv::contract
