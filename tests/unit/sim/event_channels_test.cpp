#include "sim/event_channels.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "unit/sim/simulated_tables.hpp"

namespace xenpv::sim {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class event_channels_test : public testing::Test, protected simulated_tables {
 protected:
  /// A connected pair of ports: domain 1 has an unbound port, to which domain 0 binds. The first
  /// event has been consumed.
  struct channel {
    event_channels::opened_handle guest;
    event_channels::opened_handle backend;
    std::uint32_t guest_port = 0;
    std::uint32_t backend_port = 0;
  };
  channel connect() {
    channel c{open(slot_1), open(slot_0)};
    c.guest_port = events.bind_unbound(c.guest.id, domid_0).value();
    c.backend_port = events.bind_interdomain(c.backend.id, domain_1, c.guest_port).value();
    EXPECT_THAT(read_ports(c.backend.reader), ElementsAre(c.backend_port));
    unmask(c.backend, c.backend_port);
    return c;
  }
  void send(std::uint8_t slot, std::uint32_t port) {
    ASSERT_TRUE(send_event(*state, events, slot, port));
  }
  void unmask(const event_channels::opened_handle& handle, std::uint32_t port) {
    unmask_port(*state, events, handle.id.index, handle.id.generation, port);
  }
};

TEST_F(event_channels_test, allocates_the_lowest_port_above_the_kernel_ports) {
  const auto handle = open(slot_1);
  const auto first = events.bind_unbound(handle.id, domid_0).value();
  const auto second = events.bind_unbound(handle.id, domid_0).value();
  EXPECT_EQ(first, 8U);  // after xenstore, console and five ports of one vCPU
  EXPECT_EQ(second, 9U);
  ASSERT_TRUE(events.unbind(handle.id, first, 0));
  EXPECT_EQ(events.bind_unbound(handle.id, domid_0).value(), first);
}

TEST_F(event_channels_test, bind_fails_with_no_space_when_all_ports_are_in_use) {
  const auto handle = open(slot_1);
  for (std::uint32_t port = 8; port <= max_channels; ++port)
    ASSERT_TRUE(events.bind_unbound(handle.id, domid_0));
  EXPECT_EQ(events.bind_unbound(handle.id, domid_0).error(), std::errc::no_space_on_device);
}

TEST_F(event_channels_test, new_interdomain_port_is_pending_once_on_the_binding_side_only) {
  const auto guest = open(slot_1);
  const auto backend = open(slot_0);
  const auto waiting = events.bind_unbound(guest.id, domid_0).value();
  const auto bound = events.bind_interdomain(backend.id, domain_1, waiting).value();
  EXPECT_THAT(read_ports(backend.reader), ElementsAre(bound));
  EXPECT_THAT(read_ports(guest.reader), IsEmpty());
}

TEST_F(event_channels_test, event_is_delivered_once_until_unmasked) {
  const auto c = connect();
  send(slot_0, c.backend_port);
  send(slot_0, c.backend_port);
  send(slot_0, c.backend_port);
  EXPECT_THAT(read_ports(c.guest.reader), ElementsAre(c.guest_port));
  unmask(c.guest, c.guest_port);
  EXPECT_THAT(read_ports(c.guest.reader), ElementsAre(c.guest_port))
      << "two notifications while masked become one event";
  unmask(c.guest, c.guest_port);
  EXPECT_THAT(read_ports(c.guest.reader), IsEmpty());
}

TEST_F(event_channels_test, unmask_of_an_unmasked_port_has_no_effect) {
  const auto c = connect();
  unmask(c.guest, c.guest_port);
  EXPECT_THAT(read_ports(c.guest.reader), IsEmpty());
  send(slot_0, c.backend_port);
  EXPECT_THAT(read_ports(c.guest.reader), ElementsAre(c.guest_port));
}

TEST_F(event_channels_test, unmask_through_another_handle_has_no_effect) {
  const auto c = connect();
  const auto other = open(slot_1);
  send(slot_0, c.backend_port);
  send(slot_0, c.backend_port);
  EXPECT_THAT(read_ports(c.guest.reader), ElementsAre(c.guest_port));
  unmask(other, c.guest_port);
  EXPECT_THAT(read_ports(c.guest.reader), IsEmpty());
}

TEST_F(event_channels_test, event_to_an_unconnected_port_is_dropped) {
  const auto handle = open(slot_1);
  const auto port = events.bind_unbound(handle.id, domid_0).value();
  send(slot_1, port);
  EXPECT_THAT(read_ports(handle.reader), IsEmpty());
}

TEST_F(event_channels_test, interdomain_bind_fails_like_on_xen) {
  const auto guest = open(slot_1);
  const auto backend = open(slot_0);
  const auto for_another_domain = events.bind_unbound(guest.id, domid{7}).value();
  EXPECT_EQ(events.bind_interdomain(backend.id, domain_1, for_another_domain).error(),
            std::errc::invalid_argument);
  EXPECT_EQ(events.bind_interdomain(backend.id, domain_1, 0).error(), std::errc::invalid_argument);
  EXPECT_EQ(events.bind_interdomain(backend.id, domain_1, max_ports).error(),
            std::errc::invalid_argument);
  EXPECT_EQ(events.bind_interdomain(backend.id, domid{9}, 8).error(), std::errc::no_such_process);
  const auto waiting = events.bind_unbound(guest.id, domid_0).value();
  ASSERT_TRUE(events.bind_interdomain(backend.id, domain_1, waiting));
  EXPECT_EQ(events.bind_interdomain(backend.id, domain_1, waiting).error(),
            std::errc::invalid_argument)
      << "already connected";
}

TEST_F(event_channels_test, closing_one_end_leaves_the_other_end_unbound) {
  const auto c = connect();
  ASSERT_TRUE(events.unbind(c.backend.id, c.backend_port, 0));
  send(slot_1, c.guest_port);
  const auto again = events.bind_interdomain(c.backend.id, domain_1, c.guest_port);
  ASSERT_TRUE(again);
  (void)read_ports(c.backend.reader);
  unmask(c.backend, *again);
  send(slot_1, c.guest_port);
  EXPECT_THAT(read_ports(c.backend.reader), ElementsAre(*again));
}

TEST_F(event_channels_test, virq_can_be_bound_only_once_and_the_timer_never) {
  const auto handle = open(slot_1);
  const auto port = events.bind_virq(handle.id, 1).value();
  EXPECT_EQ(events.bind_virq(handle.id, 1).error(), std::errc::file_exists);
  EXPECT_EQ(events.bind_virq(handle.id, 0).error(), std::errc::file_exists);
  EXPECT_EQ(events.bind_virq(handle.id, 24).error(), std::errc::invalid_argument);
  events.raise_virq(slot_1, 1);
  EXPECT_THAT(read_ports(handle.reader), ElementsAre(port));
  EXPECT_TRUE(events.bind_virq(open(slot_0).id, 1)) << "each domain has its own VIRQs";
}

TEST_F(event_channels_test, unbind_fails_for_unbound_ports_and_ports_of_other_handles) {
  const auto own = open(slot_1);
  const auto other = open(slot_1);
  const auto port = events.bind_unbound(own.id, domid_0).value();
  EXPECT_EQ(events.unbind(other.id, port, 0).error(), std::errc::not_connected);
  EXPECT_EQ(events.unbind(own.id, port + 1, 0).error(), std::errc::not_connected);
  EXPECT_EQ(events.unbind(own.id, max_ports, 0).error(), std::errc::invalid_argument);
  ASSERT_TRUE(events.unbind(own.id, port, 0));
  EXPECT_EQ(events.unbind(own.id, port, 0).error(), std::errc::not_connected);
}

TEST_F(event_channels_test, restricted_handle_can_only_bind_to_that_domain) {
  const auto guest = open(slot_1);
  const auto handle = open(slot_0);
  const auto waiting = events.bind_unbound(guest.id, domid_0).value();
  EXPECT_EQ(events.restrict_to(handle.id, domid_0).error(), std::errc::invalid_argument);
  ASSERT_TRUE(events.restrict_to(handle.id, domain_1));
  EXPECT_EQ(events.restrict_to(handle.id, domain_1).error(), std::errc::permission_denied);
  EXPECT_EQ(events.bind_unbound(handle.id, domain_1).error(), std::errc::permission_denied);
  EXPECT_EQ(events.bind_virq(handle.id, 1).error(), std::errc::permission_denied);
  EXPECT_EQ(events.bind_interdomain(handle.id, domid{2}, 8).error(), std::errc::permission_denied);
  EXPECT_TRUE(events.bind_interdomain(handle.id, domain_1, waiting));
}

TEST_F(event_channels_test, duplicates_keep_the_handle_open) {
  auto handle = open(slot_1);
  auto copy = unique_fd::duplicate(handle.reader.get());
  handle.reader.reset();
  EXPECT_FALSE(events.is_last_reference_closed(handle.id));
  copy.reset();
  EXPECT_TRUE(events.is_last_reference_closed(handle.id));
}

TEST_F(event_channels_test, release_frees_the_ports_and_reuse_changes_the_generation) {
  const auto before = events.port_count(slot_1);
  const auto handle = open(slot_1);
  ASSERT_TRUE(events.bind_unbound(handle.id, domid_0));
  EXPECT_EQ(events.release(handle.id, std::nullopt), std::nullopt);
  EXPECT_EQ(events.port_count(slot_1), before);
  EXPECT_EQ(events.bind_unbound(handle.id, domid_0).error(), std::errc::bad_file_descriptor);
  EXPECT_NE(open(slot_1).id.generation, handle.id.generation);
}

TEST_F(event_channels_test, resume_invalidates_ports_and_reuses_their_numbers) {
  const auto c = connect();
  const auto idle = open(slot_1);
  events.resume_domain(slot_1, domid{5}, 1);
  send(slot_0, c.backend_port);
  EXPECT_THAT(read_ports(c.guest.reader), IsEmpty());
  EXPECT_TRUE(state->handles[c.guest.id.index].has_port(c.guest_port))
      << "the driver still has the port";
  const auto fresh = open(slot_1);
  EXPECT_EQ(events.bind_unbound(fresh.id, domid_0).value(), c.guest_port);
  EXPECT_EQ(events.find_domain(domid{5}), slot_1);
  EXPECT_EQ(events.find_domain(domain_1), std::nullopt);
}

TEST_F(event_channels_test, releasing_a_stale_handle_triggers_the_kernel_bug) {
  const auto c = connect();
  events.resume_domain(slot_1, domid{5}, 1);
  EXPECT_EQ(events.release(c.guest.id, 4321), 4321);
  ASSERT_EQ(events.bugs().size(), 1U);
  EXPECT_EQ(events.bugs()[0].domain, domid{5});
  EXPECT_EQ(events.bugs()[0].process, 4321);
  EXPECT_EQ(events.bugs()[0].port, c.guest_port);
  EXPECT_THAT(events.bugs()[0].what, HasSubstr("open across save/restore"));
}

TEST_F(event_channels_test, releasing_a_stale_handle_without_ports_is_harmless) {
  const auto handle = open(slot_1);
  events.resume_domain(slot_1, domid{5}, 1);
  EXPECT_EQ(events.stale_opener(handle.id), std::nullopt);
  EXPECT_EQ(events.release(handle.id, 4321), std::nullopt);
  EXPECT_THAT(events.bugs(), IsEmpty());
}

TEST_F(event_channels_test, late_release_of_a_stale_handle_unbinds_reused_port_numbers) {
  const auto c = connect();
  events.resume_domain(slot_1, domid{5}, 1);
  const auto fresh = open(slot_1);
  const auto victim = events.bind_unbound(fresh.id, domid_0).value();
  ASSERT_EQ(victim, c.guest_port);
  EXPECT_EQ(events.release(c.guest.id, 4321), std::nullopt);
  EXPECT_THAT(events.bugs(), IsEmpty());
  EXPECT_FALSE(events.is_user_port(slot_1, victim));
}

TEST_F(event_channels_test, unbind_through_a_stale_handle_triggers_the_kernel_bug) {
  const auto c = connect();
  events.resume_domain(slot_1, domid{5}, 1);
  EXPECT_EQ(events.unbind(c.guest.id, c.guest_port, 99).error(), std::errc::owner_dead);
  ASSERT_EQ(events.bugs().size(), 1U);
  EXPECT_EQ(events.bugs()[0].process, 99);
}

TEST_F(event_channels_test, adopt_finds_handles_of_the_same_domain_only) {
  const auto handle = open(slot_1);
  struct stat facts {};
  ASSERT_EQ(::fstat(handle.reader.get(), &facts), 0);
  const auto adopted = events.adopt(slot_1, facts.st_ino);
  ASSERT_TRUE(adopted);
  EXPECT_EQ(adopted->index, handle.id.index);
  EXPECT_FALSE(events.adopt(slot_0, facts.st_ino));
}

TEST_F(event_channels_test, lost_events_never_arrive) {
  const auto c = connect();
  state->lose.whole = 2;
  state->lose.part = 1;
  std::size_t received = 0;
  for (int i = 0; i < 10; ++i) {
    send(slot_0, c.backend_port);
    received += read_ports(c.guest.reader).size();
    unmask(c.guest, c.guest_port);
  }
  EXPECT_EQ(received, 5U);
  EXPECT_EQ(state->lose.hit, 5U);
}

TEST_F(event_channels_test, doubled_events_arrive_again_after_unmask) {
  const auto c = connect();
  state->duplicate.whole = 1;
  state->duplicate.part = 1;
  send(slot_0, c.backend_port);
  EXPECT_THAT(read_ports(c.guest.reader), ElementsAre(c.guest_port));
  unmask(c.guest, c.guest_port);
  EXPECT_THAT(read_ports(c.guest.reader), ElementsAre(c.guest_port));
}

TEST_F(event_channels_test, delayed_events_are_left_to_the_caller) {
  const auto c = connect();
  state->delay.whole = 1;
  state->delay.part = 1;
  EXPECT_FALSE(send_event(*state, events, slot_0, c.backend_port));
  EXPECT_THAT(read_ports(c.guest.reader), IsEmpty());
  events.send_now(slot_0, c.backend_port);
  EXPECT_THAT(read_ports(c.guest.reader), ElementsAre(c.guest_port));
}

}  // namespace
}  // namespace xenpv::sim
