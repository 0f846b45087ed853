// A connection's lifecycle step by step, and whether the loss of a connection is orderly or abrupt.
// connection_walk_test.cpp visits every reachable state.
#include <array>
#include <utility>
#include <vector>

#include "unit/blkfront/connection_machine_rig.hpp"

namespace xenpv::blkfront {
namespace {

TEST(connection_machine, connects_after_resetting_a_stale_connection) {
  driver d;
  EXPECT_EQ(d.post(kind::open), step::read_device);
  EXPECT_EQ(d.state(), connection_state::connecting);
  EXPECT_EQ(d.post(kind::done), step::look);
  EXPECT_EQ(d.see(connected, connected), step::set_closing);
  EXPECT_EQ(d.post(kind::done), step::look);
  EXPECT_EQ(d.see(closing, connected), step::wait);
  EXPECT_EQ(d.see(closing, closing), step::set_closed);
  EXPECT_EQ(d.post(kind::done), step::look);
  EXPECT_EQ(d.see(closed, closed), step::set_initialising);
  EXPECT_EQ(d.post(kind::done), step::look);
  EXPECT_EQ(d.see(initialising, init_wait), step::publish);
  EXPECT_EQ(d.state(), connection_state::offered);
}

TEST(connection_machine, releases_ports_and_backs_off_when_a_ring_is_refused) {
  driver d;
  (void)d.post(kind::open);
  (void)d.post(kind::done);
  (void)d.see(initialising, init_wait);
  (void)d.post(kind::done);
  EXPECT_EQ(d.see(initialised, closing), step::release);
  EXPECT_EQ(d.machine.refusals(), 1U);
  EXPECT_EQ(d.post(kind::done), step::back_off);
  EXPECT_EQ(d.post(kind::done), step::look);
  EXPECT_EQ(d.see(initialised, closing), step::set_closed);
}

TEST(connection_machine, closes_nothing_when_an_open_fails_before_publishing) {
  driver d;
  (void)d.post(kind::open);
  EXPECT_EQ(d.post(kind::failed), step::release);
  EXPECT_EQ(d.post(kind::done), step::rest);
  EXPECT_EQ(d.state(), connection_state::closed);
}

TEST(connection_machine, closes_the_published_device_when_an_open_fails) {
  driver d;
  (void)d.post(kind::open);
  (void)d.post(kind::done);
  EXPECT_EQ(d.see(initialising, init_wait), step::publish);
  EXPECT_EQ(d.post(kind::failed), step::fail);
  EXPECT_EQ(d.post(kind::done), step::part);
  EXPECT_EQ(d.see(closed, closed), step::release);
  EXPECT_EQ(d.post(kind::done), step::rest);
  EXPECT_EQ(d.state(), connection_state::closed);
}

TEST(connection_machine, reopens_when_a_resume_made_the_open_fail) {
  driver d;
  (void)d.post(kind::open);
  (void)d.post(kind::done);
  EXPECT_EQ(d.see(initialising, init_wait), step::publish);
  EXPECT_TRUE(d.machine.interrupt(interruption::resumed));
  EXPECT_EQ(d.post(kind::failed), step::release);
  EXPECT_EQ(d.post(kind::done), step::read_device);
  EXPECT_EQ(d.state(), connection_state::connecting);
  connect(d);
}

TEST(connection_machine, explains_why_an_attempt_cannot_succeed) {
  const std::array<std::pair<device_view, std::string_view>, 3> cases = {
      {{view_of(closed, closed, false), "the toolstack is detaching the disk (online=0)"},
       {{.states = {}, .node = backend_node::removed, .rebuilt = false},
        "the toolstack removed the device"},
       {{.states = {}, .node = backend_node::other, .rebuilt = false},
        "the toolstack assigned another backend"}}};
  for (const auto& [view, text] : cases) {
    driver d;
    (void)d.post(kind::open);
    (void)d.post(kind::done);
    EXPECT_EQ(d.see(view), step::abandon);
    EXPECT_EQ(d.action.text, text);
    EXPECT_EQ(d.post(kind::failed), step::release);
  }
}

// Orderly and abrupt losses. An abrupt loss may discard writes that completed but were not flushed.

TEST(connection_loss, is_orderly_when_both_ends_closed) {
  const auto d = parted_machine();
  expect_loss(d, loss_reason::backend_closed, connection_loss::orderly);
}

TEST(connection_loss, is_orderly_when_the_guest_was_resumed) {
  auto d = connected_machine();
  EXPECT_TRUE(d.machine.interrupt(interruption::resumed));
  EXPECT_TRUE(d.machine.is_interrupted());
  EXPECT_EQ(d.post(kind::changed), step::suspend);
  expect_loss(d, loss_reason::resumed, connection_loss::orderly);
  EXPECT_EQ(d.post(kind::done), step::read_device);
  EXPECT_TRUE(d.machine.may_have_moved());
  // The toolstack has recreated the device, but the loss stays orderly.
  EXPECT_EQ(d.post(kind::done), step::look);
  EXPECT_EQ(d.see(initialising, initialising), step::wait);
  EXPECT_EQ(d.machine.loss(), connection_loss::orderly);
}

TEST(connection_loss, is_orderly_when_the_resume_shows_only_on_confirmation) {
  for (const auto own : {initialising, connected}) {
    auto d = connected_machine();
    EXPECT_EQ(d.see(own, initialising), step::confirm);
    EXPECT_TRUE(d.machine.interrupt(interruption::resumed));
    EXPECT_EQ(d.see(initialising, initialising), step::suspend);
    expect_loss(d, loss_reason::resumed, connection_loss::orderly);
  }
}

TEST(connection_loss, is_abrupt_when_the_directory_was_removed) {
  auto d = connected_machine();
  EXPECT_EQ(d.see(connected, std::nullopt), step::confirm);
  (void)d.see(connected, std::nullopt);
  expect_loss(d, loss_reason::directory_vanished, connection_loss::abrupt);
}

TEST(connection_loss, is_abrupt_when_the_backend_restarted_without_closing) {
  for (const auto backend : {unknown, initialising, init_wait, initialised, closed}) {
    auto d = connected_machine();
    EXPECT_EQ(d.see(connected, backend), step::confirm);
    (void)d.see(connected, backend);
    expect_loss(d, loss_reason::backend_restarted, connection_loss::abrupt);
  }
}

TEST(connection_loss, is_abrupt_when_the_toolstack_recreated_the_device) {
  auto d = connected_machine();
  EXPECT_EQ(d.see(initialising, init_wait), step::confirm);
  (void)d.see(initialising, init_wait);
  expect_loss(d, loss_reason::device_rebuilt, connection_loss::abrupt);
}

TEST(connection_loss, is_abrupt_when_the_backend_does_not_finish_closing) {
  std::vector<device_view> ends = {view_of(closed, closing),   view_of(closed, std::nullopt),
                                   view_of(closed, init_wait), view_of(closed, initialising),
                                   view_of(closing, closed),   view_of(initialising, init_wait)};
  auto rebuilt = view_of(closed, closed);
  rebuilt.rebuilt = true;
  ends.push_back(rebuilt);
  auto other = view_of(closed, closed);
  other.node = backend_node::other;
  ends.push_back(other);
  for (const auto& end : ends) {
    auto d = connected_machine();
    EXPECT_EQ(d.see(connected, closing), step::part);
    EXPECT_EQ(d.see(end), step::confirm);
    EXPECT_EQ(d.see(end), step::suspend);
    expect_loss(d, loss_reason::backend_closed, connection_loss::abrupt);
  }
}

TEST(connection_loss, is_abrupt_when_the_closing_handshake_fails) {
  auto d = connected_machine();
  EXPECT_EQ(d.see(connected, closing), step::part);
  EXPECT_EQ(d.post(kind::failed), step::confirm);
  EXPECT_EQ(d.post(kind::failed), step::suspend);
  expect_loss(d, loss_reason::backend_closed, connection_loss::abrupt);
}

// A driver domain may close its disks and then crash, so Closed does not imply that the domain has
// flushed its cache.
TEST(connection_loss, becomes_abrupt_when_another_backend_replaces_an_orderly_closed_one) {
  auto rebuilt = view_of(closed, closed);
  rebuilt.rebuilt = true;
  auto other = view_of(closed, closed);
  other.node = backend_node::other;
  for (const auto& view : {rebuilt, other, view_of(closed, std::nullopt), view_of(closed, unknown),
                           view_of(closed, initialising), view_of(initialising, initialising)}) {
    auto d = parted_machine();
    EXPECT_EQ(d.post(kind::done), step::read_device);
    EXPECT_EQ(d.post(kind::done), step::look);
    EXPECT_EQ(d.see(view), step::suspend);
    expect_loss(d, loss_reason::backend_closed, connection_loss::abrupt);
    EXPECT_EQ(d.post(kind::done), step::read_device) << "continues with the new backend";
    EXPECT_EQ(d.post(kind::done), step::look);
    (void)d.see(view_of(closed, initialising));
    EXPECT_NE(d.action.step, step::suspend) << "reported once";
  }
}

TEST(connection_loss, stays_orderly_when_the_same_backend_reconnects) {
  auto d = parted_machine();
  EXPECT_EQ(d.post(kind::done), step::read_device);
  EXPECT_EQ(d.post(kind::done), step::look);
  EXPECT_EQ(d.see(closed, closed), step::set_initialising);
  EXPECT_EQ(d.post(kind::done), step::look);
  EXPECT_EQ(d.see(initialising, init_wait), step::publish);
  EXPECT_EQ(d.post(kind::done), step::look);
  EXPECT_EQ(d.see(initialised, connected), step::finish);
  EXPECT_EQ(d.machine.loss(), connection_loss::orderly);
  EXPECT_EQ(d.post(kind::done), step::wait);
  EXPECT_EQ(d.state(), connection_state::connected);
}

TEST(connection_loss, stays_abrupt_after_a_resume) {
  auto d = connected_machine();
  (void)d.see(connected, std::nullopt);
  (void)d.see(connected, std::nullopt);
  EXPECT_EQ(d.post(kind::done), step::read_device);
  EXPECT_TRUE(d.machine.interrupt(interruption::resumed));
  EXPECT_EQ(d.post(kind::failed), step::withdraw);
  EXPECT_EQ(d.action.loss, connection_loss::abrupt);
  EXPECT_EQ(d.post(kind::done), step::read_device);
  EXPECT_EQ(d.machine.loss(), connection_loss::abrupt);
  EXPECT_TRUE(d.machine.may_have_moved());
}

// Recovery.

TEST(connection_machine, retries_with_pauses_until_a_backend_appears) {
  auto d = connected_machine();
  (void)d.see(connected, std::nullopt);
  (void)d.see(connected, std::nullopt);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(d.post(kind::done), step::read_device);
    EXPECT_EQ(d.post(kind::failed), step::withdraw);
    EXPECT_EQ(d.post(kind::done), step::confirm);
    EXPECT_EQ(d.see(connected, std::nullopt), step::pause);
  }
  EXPECT_EQ(d.post(kind::done), step::read_device);
  connect(d);
}

TEST(connection_machine, fails_requests_at_the_recovery_timeout_and_still_recovers) {
  auto d = connected_machine();
  EXPECT_FALSE(d.machine.interrupt(interruption::out_of_time));
  (void)d.see(connected, std::nullopt);
  (void)d.see(connected, std::nullopt);
  EXPECT_TRUE(d.machine.interrupt(interruption::out_of_time));
  EXPECT_EQ(d.state(), connection_state::absent);
  EXPECT_FALSE(d.machine.interrupt(interruption::out_of_time));
  EXPECT_EQ(d.post(kind::done), step::read_device);
  EXPECT_EQ(d.state(), connection_state::absent);
  connect(d);
}

TEST(connection_machine, recovers_immediately_from_a_resume_during_the_last_step_of_a_recovery) {
  auto d = connected_machine();
  (void)d.see(connected, std::nullopt);
  (void)d.see(connected, std::nullopt);
  (void)d.post(kind::done);
  (void)d.post(kind::done);
  (void)d.see(initialising, init_wait);
  (void)d.post(kind::done);
  EXPECT_EQ(d.see(initialised, connected), step::finish);
  EXPECT_TRUE(d.machine.interrupt(interruption::resumed));
  EXPECT_EQ(d.post(kind::done), step::suspend);
  expect_loss(d, loss_reason::resumed, connection_loss::orderly);
  EXPECT_EQ(d.post(kind::done), step::read_device);
  EXPECT_TRUE(d.machine.may_have_moved());
  connect(d);
  EXPECT_FALSE(d.machine.may_have_moved());
}

TEST(connection_machine, fails_permanently_when_a_different_disk_appears) {
  auto d = connected_machine();
  (void)d.see(connected, std::nullopt);
  (void)d.see(connected, std::nullopt);
  (void)d.post(kind::done);
  (void)d.post(kind::done);
  (void)d.see(initialising, init_wait);
  (void)d.post(kind::done);
  EXPECT_EQ(d.see(initialised, connected), step::finish);
  EXPECT_EQ(d.post(kind::wrong_disk), step::fail);
  EXPECT_EQ(d.state(), connection_state::failing);
  EXPECT_EQ(d.post(kind::done), step::part);
  EXPECT_EQ(d.see(closed, closed), step::release);
  EXPECT_EQ(d.post(kind::done), step::rest);
  EXPECT_EQ(d.state(), connection_state::failed);
}

TEST(connection_machine, fails_permanently_when_a_queue_distrusts_its_backend) {
  auto d = connected_machine();
  EXPECT_TRUE(d.machine.interrupt(interruption::distrusted));
  EXPECT_TRUE(d.machine.is_interrupted());
  EXPECT_EQ(d.post(kind::changed), step::fail);
  EXPECT_EQ(d.state(), connection_state::failing);
  EXPECT_FALSE(d.machine.interrupt(interruption::distrusted));
}

// The connected state.

TEST(connection_machine, rereads_properties_when_the_backend_sets_connected_again) {
  auto d = connected_machine();
  EXPECT_EQ(d.see(connected, connected), step::reread);
  EXPECT_EQ(d.post(kind::done), step::wait);
  EXPECT_EQ(d.see(connected, reconfiguring), step::wait);
}

TEST(connection_machine, rereads_the_view_after_a_failure) {
  auto d = connected_machine();
  EXPECT_EQ(d.post(kind::failed), step::back_off);
  EXPECT_EQ(d.post(kind::done), step::look);
  EXPECT_EQ(d.see(connected, connected), step::reread);
}

TEST(connection_machine, drains_requests_when_the_toolstack_removes_the_disk) {
  auto d = connected_machine();
  EXPECT_EQ(d.see(connected, closing, false), step::shut);
  EXPECT_EQ(d.action.text, "the toolstack detached the disk");
  EXPECT_EQ(d.post(kind::done), step::look);
  EXPECT_EQ(d.see(connected, closing, false), step::drain);
  EXPECT_EQ(d.post(kind::done), step::fail);
  EXPECT_EQ(d.post(kind::done), step::part);
  EXPECT_EQ(d.see(closed, closed, false), step::release);
  EXPECT_EQ(d.post(kind::done), step::rest);
  EXPECT_EQ(d.state(), connection_state::unplugged);
}

TEST(connection_machine, skips_the_drain_when_the_disk_is_forcibly_removed) {
  auto d = connected_machine();
  device_view gone;
  gone.node = backend_node::removed;
  EXPECT_EQ(d.see(gone), step::confirm);
  EXPECT_EQ(d.see(gone), step::shut);
  EXPECT_EQ(d.action.text, "the toolstack forcibly detached the disk");
  EXPECT_EQ(d.post(kind::done), step::look);
  EXPECT_EQ(d.see(gone), step::fail);
}

TEST(connection_machine, completes_an_unplug_even_if_each_step_fails) {
  auto d = connected_machine();
  EXPECT_EQ(d.see(connected, closing, false), step::shut);
  for (const auto next : {step::look, step::fail, step::part, step::release, step::rest})
    EXPECT_EQ(d.post(kind::failed), next);
  EXPECT_EQ(d.state(), connection_state::unplugged);
}

}  // namespace
}  // namespace xenpv::blkfront
