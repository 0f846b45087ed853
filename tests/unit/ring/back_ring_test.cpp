// The backend end of a ring, tested against Xen's frontend macros on the same memory.
#include "xenpv/ring/back_ring.hpp"

#include <gtest/gtest.h>

#include "unit/ring/xens_ring.hpp"

namespace xenpv::ring {
namespace {

using test::request_of;
using test::response_of;

class back_ring_test : public ::testing::Test {
 protected:
  void ask(int count) {
    for (int i = 0; i < count; ++i)
      front.put(request_of(asked++));
    static_cast<void>(front.publish());
  }
  void answer(int count) {
    for (int i = 0; i < count; ++i)
      back.put(response_of(back.take().id));
    static_cast<void>(back.publish());
  }

  test::ring_memory memory;
  test::xens_front front{memory};
  blkif_back_ring back{memory.bytes()};
  std::uint64_t asked = 0;
};

TEST_F(back_ring_test, starts_empty_and_does_not_change_the_ring) {
  EXPECT_EQ(back.available(), 0u);
  EXPECT_EQ(back.in_flight(), 0u);
  EXPECT_EQ(memory.xens()->req_prod, 0u);
  EXPECT_EQ(memory.xens()->req_event, 1u);
  EXPECT_EQ(memory.xens()->rsp_prod, 0u);
  EXPECT_EQ(memory.xens()->rsp_event, 1u);
}

TEST_F(back_ring_test, requests_are_taken_in_order) {
  ask(2);
  ASSERT_EQ(back.available(), 2u);
  EXPECT_TRUE(test::is_request_of(back.take(), 0));
  EXPECT_EQ(back.available(), 1u);
  EXPECT_TRUE(test::is_request_of(back.take(), 1));
  EXPECT_EQ(back.available(), 0u);
  EXPECT_EQ(back.in_flight(), 2u);
}

TEST_F(back_ring_test, request_does_not_change_after_take) {
  ask(1);
  const auto request = back.take();
  memory.xens()->ring[0].req.id = 666;
  EXPECT_TRUE(test::is_request_of(request, 0));
}

TEST_F(back_ring_test, response_is_visible_once_published) {
  ask(2);
  static_cast<void>(back.take());
  static_cast<void>(back.take());
  back.put(response_of(1));
  EXPECT_EQ(back.in_flight(), 1u);
  EXPECT_EQ(front.available(), 0u);
  EXPECT_TRUE(back.publish());
  ASSERT_EQ(front.available(), 1u);
  EXPECT_TRUE(test::is_response_of(front.take(), 1));
}

TEST_F(back_ring_test, event_is_due_when_the_frontend_sleeps) {
  ask(2);
  answer(1);
  static_cast<void>(front.take());
  EXPECT_TRUE(front.arm());
  back.put(response_of(back.take().id));
  EXPECT_TRUE(back.publish());
}

TEST_F(back_ring_test, no_event_is_due_while_the_frontend_is_busy) {
  ask(3);
  back.put(response_of(back.take().id));
  EXPECT_TRUE(back.publish());
  back.put(response_of(back.take().id));
  EXPECT_FALSE(back.publish()) << "already notified, and has not checked the ring since";
  static_cast<void>(front.take());
  static_cast<void>(front.take());
  back.put(response_of(back.take().id));
  EXPECT_FALSE(back.publish()) << "not armed again";
}

TEST_F(back_ring_test, no_event_is_due_without_new_responses) {
  EXPECT_FALSE(back.publish());
  EXPECT_EQ(memory.xens()->rsp_prod, 0u);
}

TEST_F(back_ring_test, one_event_is_due_for_a_batch_that_passes_the_event_index) {
  ask(5);
  memory.xens()->rsp_event = 3;
  back.put(response_of(back.take().id));
  EXPECT_FALSE(back.publish());
  for (int i = 0; i < 4; ++i)
    back.put(response_of(back.take().id));
  EXPECT_TRUE(back.publish());
}

TEST_F(back_ring_test, ignores_changes_of_its_own_index_by_the_peer) {
  ask(1);
  memory.xens()->rsp_prod = 900;
  back.put(response_of(back.take().id));
  EXPECT_TRUE(back.publish());
  EXPECT_EQ(memory.xens()->rsp_prod, 1u);
}

TEST_F(back_ring_test, arms_for_the_next_request) {
  ask(1);
  answer(1);
  EXPECT_TRUE(back.arm());
  front.put(request_of(1));
  EXPECT_TRUE(front.publish());
  front.put(request_of(2));
  EXPECT_FALSE(front.publish());
}

TEST_F(back_ring_test, does_not_arm_when_a_request_has_arrived) {
  ask(1);
  EXPECT_FALSE(back.arm());
  static_cast<void>(back.take());
  EXPECT_TRUE(back.arm());
}

TEST_F(back_ring_test, full_ring_is_not_an_overflow) {
  ask(32);
  EXPECT_EQ(back.available(), 32u);
  for (int i = 0; i < 32; ++i)
    static_cast<void>(back.take());
  EXPECT_EQ(back.available(), 0u);
}

TEST_F(back_ring_test, more_requests_than_the_ring_holds_are_an_overflow) {
  memory.xens()->req_prod = 33;
  EXPECT_EQ(back.available(), std::nullopt);
  memory.xens()->req_prod = 0xFFFFFFFF;
  EXPECT_EQ(back.available(), std::nullopt);
}

TEST_F(back_ring_test, requests_in_entries_that_await_a_response_are_an_overflow) {
  ask(32);
  for (int i = 0; i < 32; ++i)
    static_cast<void>(back.take());
  memory.xens()->req_prod = 33;
  EXPECT_EQ(back.available(), std::nullopt);
  // The response frees the entry for the frontend.
  back.put(response_of(0));
  EXPECT_EQ(back.available(), 1u);
}

TEST_F(back_ring_test, request_index_that_moves_back_is_an_overflow) {
  ask(3);
  for (int i = 0; i < 3; ++i)
    static_cast<void>(back.take());
  // Xen's own check accepts this index, because it is within the ring size, and then limits the
  // number of requests to the remaining entries. Without either limit, there would be four billion
  // requests.
  memory.xens()->req_prod = 2;
  EXPECT_EQ(back.available(), std::nullopt);
  EXPECT_FALSE(back.arm()) << "must not sleep on a broken ring";
}

TEST_F(back_ring_test, attaches_to_a_ring_in_use) {
  ask(3);
  answer(2);
  blkif_back_ring next(memory.bytes(), blkif_back_ring::start::at_published);
  EXPECT_EQ(next.in_flight(), 0u);
  ASSERT_EQ(next.available(), 1u);
  EXPECT_TRUE(test::is_request_of(next.take(), 2));
  next.put(response_of(2));
  static_cast<void>(next.publish());
  EXPECT_EQ(memory.xens()->rsp_prod, 3u);
  ASSERT_EQ(front.available(), 3u);
  for (const auto id : {0u, 1u, 2u})
    EXPECT_TRUE(test::is_response_of(front.take(), id));
}

TEST_F(back_ring_test, takes_requests_that_its_predecessor_left_unanswered) {
  ask(3);
  answer(1);
  static_cast<void>(back.take());
  blkif_back_ring next(memory.bytes(), blkif_back_ring::start::at_published);
  ASSERT_EQ(next.available(), 2u);
  EXPECT_TRUE(test::is_request_of(next.take(), 1));
}

TEST_F(back_ring_test, attaching_with_too_many_requests_is_an_overflow) {
  memory.xens()->rsp_prod = 10;
  memory.xens()->req_prod = 43;
  blkif_back_ring next(memory.bytes(), blkif_back_ring::start::at_published);
  EXPECT_EQ(next.available(), std::nullopt);
  memory.xens()->req_prod = 42;
  EXPECT_EQ(next.available(), 32u);
  memory.xens()->req_prod = 9;
  EXPECT_EQ(next.available(), std::nullopt);
}

TEST_F(back_ring_test, jump_publishes_responses_that_were_not_added) {
  ask(1);
  answer(1);
  back.jump(40);
  static_cast<void>(back.publish());
  EXPECT_EQ(memory.xens()->rsp_prod, 41u);
  blkif_front_ring victim(memory.bytes());
  victim.put(request_of(0));
  static_cast<void>(victim.publish());
  back.jump(1);
  static_cast<void>(back.publish());
  EXPECT_EQ(victim.available(), std::nullopt);
}

}  // namespace
}  // namespace xenpv::ring
