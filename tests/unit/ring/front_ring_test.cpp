// The frontend end of a ring, tested against Xen's backend macros on the same memory.
#include "xenpv/ring/front_ring.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "unit/ring/xens_ring.hpp"

namespace xenpv::ring {
namespace {

using test::request_of;
using test::response_of;

class front_ring_test : public ::testing::Test {
 protected:
  void answer(int count) {
    for (int i = 0; i < count; ++i)
      back.put(response_of(back.take().id));
    static_cast<void>(back.publish());
  }
  void ask(int count) {
    for (int i = 0; i < count; ++i)
      front.put(request_of(front.requests_put()));
    static_cast<void>(front.publish());
  }

  test::ring_memory memory;
  blkif_front_ring front{memory.bytes()};
  test::xens_back back{memory};
};

TEST_F(front_ring_test, new_ring_is_initialised_like_in_xen) {
  EXPECT_EQ(memory.xens()->req_prod, 0u);
  EXPECT_EQ(memory.xens()->req_event, 1u);
  EXPECT_EQ(memory.xens()->rsp_prod, 0u);
  EXPECT_EQ(memory.xens()->rsp_event, 1u);
  const auto rest = memory.bytes().subspan(16);
  EXPECT_TRUE(std::all_of(rest.begin(), rest.end(), [](std::byte b) { return b == std::byte{}; }))
      << "the peer must not see the previous contents of the pages";
  EXPECT_EQ(front.free(), 32u);
  EXPECT_EQ(front.in_flight(), 0u);
  EXPECT_EQ(front.available(), 0u);
}

TEST_F(front_ring_test, request_is_visible_once_published) {
  front.put(request_of(5));
  front.put(request_of(6));
  EXPECT_EQ(back.available(), 0u);
  EXPECT_EQ(front.in_flight(), 2u);
  EXPECT_EQ(front.free(), 30u);
  EXPECT_TRUE(front.publish());
  EXPECT_EQ(back.available(), 2u);
  EXPECT_TRUE(test::is_request_of(back.take(), 5));
  EXPECT_TRUE(test::is_request_of(back.take(), 6));
}

TEST_F(front_ring_test, accepts_requests_of_every_layout) {
  wire::blkif_discard_request discard{};
  discard.id = 3;
  discard.nr_sectors = 8;
  wire::blkif_indirect_request indirect{};
  indirect.id = 4;
  indirect.indirect_grefs[7] = 77;
  front.put(discard);
  front.put(indirect);
  const auto& first = reinterpret_cast<const ::blkif_request_discard&>(memory.xens()->ring[0]);
  EXPECT_EQ(first.id, 3u);
  EXPECT_EQ(first.nr_sectors, 8u);
  const auto& second = reinterpret_cast<const ::blkif_request_indirect&>(memory.xens()->ring[1]);
  EXPECT_EQ(second.id, 4u);
  EXPECT_EQ(second.indirect_grefs[7], 77u);
}

TEST_F(front_ring_test, event_is_due_when_the_backend_sleeps) {
  ask(1);
  answer(1);
  EXPECT_TRUE(back.arm());
  front.put(request_of(1));
  EXPECT_TRUE(front.publish());
}

TEST_F(front_ring_test, no_event_is_due_while_the_backend_is_busy) {
  front.put(request_of(0));
  EXPECT_TRUE(front.publish());
  front.put(request_of(1));
  EXPECT_FALSE(front.publish()) << "already notified, and has not checked the ring since";
  answer(2);
  front.put(request_of(2));
  EXPECT_FALSE(front.publish()) << "not armed again";
}

TEST_F(front_ring_test, no_event_is_due_without_new_requests) {
  EXPECT_FALSE(front.publish());
  EXPECT_EQ(memory.xens()->req_prod, 0u);
}

TEST_F(front_ring_test, one_event_is_due_for_a_batch_that_passes_the_event_index) {
  memory.xens()->req_event = 3;
  ask(2);
  for (int i = 0; i < 3; ++i)
    front.put(request_of(9));
  EXPECT_TRUE(front.publish());
}

TEST_F(front_ring_test, ignores_changes_of_its_own_index_by_the_peer) {
  ask(2);
  memory.xens()->req_prod = 900;
  front.put(request_of(2));
  EXPECT_FALSE(front.publish());
  EXPECT_EQ(memory.xens()->req_prod, 3u);
}

TEST_F(front_ring_test, responses_are_taken_in_order) {
  ask(3);
  for (const auto id : {2u, 0u, 1u}) {
    static_cast<void>(back.take());
    back.put(response_of(id));
  }
  EXPECT_EQ(front.available(), 0u);
  static_cast<void>(back.publish());
  ASSERT_EQ(front.available(), 3u);
  for (const auto id : {2u, 0u, 1u})
    EXPECT_TRUE(test::is_response_of(front.take(), id));
  EXPECT_EQ(front.available(), 0u);
  EXPECT_EQ(front.in_flight(), 0u);
}

TEST_F(front_ring_test, full_ring_has_no_free_entry_until_a_response_is_taken) {
  ask(32);
  EXPECT_EQ(front.free(), 0u);
  answer(1);
  EXPECT_EQ(front.free(), 0u) << "the entry still holds the response";
  static_cast<void>(front.take());
  EXPECT_EQ(front.free(), 1u);
}

TEST_F(front_ring_test, arms_for_the_next_response) {
  ask(2);
  EXPECT_TRUE(front.arm());
  back.put(response_of(back.take().id));
  EXPECT_TRUE(back.publish());
  back.put(response_of(back.take().id));
  EXPECT_FALSE(back.publish());
}

TEST_F(front_ring_test, does_not_arm_when_a_response_has_arrived) {
  ask(1);
  answer(1);
  EXPECT_FALSE(front.arm());
  static_cast<void>(front.take());
  EXPECT_TRUE(front.arm());
}

TEST_F(front_ring_test, arms_for_the_last_of_several_responses) {
  ask(4);
  EXPECT_TRUE(front.arm(3));
  for (const auto due : {false, false, true, false}) {
    back.put(response_of(back.take().id));
    EXPECT_EQ(back.publish(), due);
  }
}

TEST_F(front_ring_test, arms_at_a_distance_until_as_many_responses_have_arrived) {
  ask(4);
  answer(2);
  EXPECT_TRUE(front.arm(3)) << "the third response triggers the event";
  back.put(response_of(back.take().id));
  EXPECT_TRUE(back.publish());
  EXPECT_FALSE(front.arm(3)) << "all three have arrived";
  EXPECT_FALSE(front.arm(2));
}

TEST_F(front_ring_test, responses_without_requests_are_an_overflow) {
  memory.xens()->rsp_prod = 1;
  EXPECT_EQ(front.available(), std::nullopt);
}

TEST_F(front_ring_test, more_responses_than_published_requests_are_an_overflow) {
  ask(3);
  front.put(request_of(3));
  memory.xens()->rsp_prod = 3;
  EXPECT_EQ(front.available(), 3u);
  memory.xens()->rsp_prod = 4;
  EXPECT_EQ(front.available(), std::nullopt) << "the fourth request is not published yet";
  memory.xens()->rsp_prod = 0x80000003;
  EXPECT_EQ(front.available(), std::nullopt);
}

TEST_F(front_ring_test, response_index_that_moves_back_is_an_overflow) {
  ask(3);
  answer(2);
  static_cast<void>(front.take());
  static_cast<void>(front.take());
  memory.xens()->rsp_prod = 1;
  EXPECT_EQ(front.available(), std::nullopt);
  EXPECT_FALSE(front.arm()) << "must not sleep on a broken ring";
}

TEST_F(front_ring_test, counts_added_requests) {
  ask(2);
  front.put(request_of(0));
  EXPECT_EQ(front.requests_put(), 3u);
}

}  // namespace
}  // namespace xenpv::ring
