#include "async/port_state.hpp"

#include <gtest/gtest.h>

namespace xenpv::async {
namespace {

TEST(port_state, keeps_an_event_without_a_waiter_for_the_next_wait) {
  port_state state(false);
  EXPECT_EQ(state.on_event(), event_action::keep);
  EXPECT_EQ(state.begin_wait(), listen_action::deliver);
  // When the next wait begins, the event has been handled. The wait therefore unmasks the port.
  EXPECT_EQ(state.begin_wait(), listen_action::unmask);
}

TEST(port_state, wakes_the_waiter_and_unmasks_at_the_next_wait) {
  port_state state(false);
  EXPECT_EQ(state.begin_wait(), listen_action::listen);
  EXPECT_EQ(state.on_event(), event_action::wake);
  EXPECT_EQ(state.begin_wait(), listen_action::unmask);
  state.on_unmasked();
  EXPECT_EQ(state.on_event(), event_action::wake);
}

TEST(port_state, refuses_a_second_listener) {
  port_state state(false);
  EXPECT_EQ(state.begin_wait(), listen_action::listen);
  EXPECT_EQ(state.begin_wait(), listen_action::refuse);
  EXPECT_EQ(state.set_callback(true), listen_action::refuse);
}

TEST(port_state, refuses_a_wait_while_a_callback_is_set) {
  port_state state(false);
  EXPECT_EQ(state.set_callback(true), listen_action::listen);
  EXPECT_EQ(state.begin_wait(), listen_action::refuse);
}

TEST(port_state, swallows_exactly_the_first_event_of_an_interdomain_port) {
  port_state state(true);
  EXPECT_EQ(state.begin_wait(), listen_action::listen);
  EXPECT_EQ(state.on_event(), event_action::unmask);
  state.on_unmasked();
  EXPECT_EQ(state.on_event(), event_action::wake);
}

TEST(port_state, loses_no_event_when_a_wait_is_cancelled) {
  port_state state(false);
  EXPECT_EQ(state.begin_wait(), listen_action::listen);
  state.cancel_wait();
  EXPECT_EQ(state.on_event(), event_action::keep);
  EXPECT_EQ(state.begin_wait(), listen_action::deliver);
}

TEST(port_state, does_not_unmask_again_after_a_cancelled_wait) {
  port_state state(false);
  EXPECT_EQ(state.begin_wait(), listen_action::listen);
  state.cancel_wait();
  EXPECT_EQ(state.begin_wait(), listen_action::listen);
}

TEST(port_state, merges_events_that_arrive_while_one_is_kept) {
  port_state state(false);
  EXPECT_EQ(state.on_event(), event_action::keep);
  EXPECT_EQ(state.on_event(), event_action::keep);
  EXPECT_EQ(state.begin_wait(), listen_action::deliver);
  EXPECT_EQ(state.begin_wait(), listen_action::unmask);
}

TEST(port_state, delivers_a_kept_event_to_a_new_callback) {
  port_state state(false);
  EXPECT_EQ(state.on_event(), event_action::keep);
  EXPECT_EQ(state.set_callback(true), listen_action::deliver);
  EXPECT_EQ(state.on_event(), event_action::call);
}

TEST(port_state, unmasks_for_a_new_callback_a_port_that_a_waiter_left_masked) {
  port_state state(false);
  EXPECT_EQ(state.begin_wait(), listen_action::listen);
  EXPECT_EQ(state.on_event(), event_action::wake);
  EXPECT_EQ(state.set_callback(true), listen_action::unmask);
}

TEST(port_state, lets_a_callback_replace_or_remove_itself) {
  port_state state(false);
  EXPECT_EQ(state.set_callback(true), listen_action::listen);
  EXPECT_EQ(state.on_event(), event_action::call);
  EXPECT_EQ(state.set_callback(true), listen_action::listen);
  EXPECT_EQ(state.set_callback(false), listen_action::listen);
  state.on_unmasked();
  EXPECT_EQ(state.on_event(), event_action::keep);
}

}  // namespace
}  // namespace xenpv::async
