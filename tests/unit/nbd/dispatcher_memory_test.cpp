// Requests that wait for memory while something else changes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dispatcher_rig.hpp"
#include "nbd/memory_budget.hpp"

namespace xenpv::nbd::test {
namespace {

using testing::Contains;
using testing::IsSupersetOf;

constexpr session_terms in_chunks{true};

TEST(dispatcher_memory, of_a_request_refused_while_it_waited_is_not_used_by_the_next_one) {
  dispatcher_rig rig({.size = 4 * mib}, in_chunks, {.requests = 100, .heap = 256 * kib});
  (void)rig.begin({nbd_command::read, 1, 0, 200 * kib});
  const request_header waiting{0, nbd_command::read, 2, 4096, 200 * kib};
  ASSERT_FALSE(rig.dispatch().prepare(waiting, {}));
  rig.queue.answer_all();
  rig.recycle();
  // The export has become smaller.
  const verdict refused{wire::nbd_error::einval, 0, false, "beyond the end"};
  ASSERT_TRUE(rig.dispatch().prepare(waiting, refused));
  (void)rig.dispatch().begin(waiting, refused);
  rig.dispatch().commit();
  rig.recycle();
  rig.queue.log.clear();
  (void)rig.begin({nbd_command::read, 3, 0, mib});
  EXPECT_THAT(rig.queue.log, Contains("read 0+262144 memory"));
  for (unsigned round = 0; round < 4; ++round) {
    rig.queue.answer_all();
    rig.recycle();
  }
  EXPECT_EQ(rig.dispatch().in_flight(), 0U);
  EXPECT_THAT(rig.queue.log,
              IsSupersetOf({"read 262144+262144 memory", "read 786432+262144 memory"}));
}

TEST(dispatcher_memory, reserved_by_a_read_is_used_although_another_read_lacks_memory) {
  dispatcher_rig rig({.size = 8 * mib}, in_chunks, {.requests = 100, .heap = 8 * mib});
  (void)rig.begin({nbd_command::read, 1, 0, 8 * mib, wire::nbd_cmd_flag_df});
  (void)rig.begin({nbd_command::read, 2, 0, mib});
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies(), lines{"1 data 8388608"});
  rig.recycle();
  for (unsigned round = 0; round < 4; ++round) {
    rig.queue.answer_all();
    rig.recycle();
  }
  EXPECT_EQ(rig.dispatch().in_flight(), 0U);
}

TEST(dispatcher_memory, granted_to_a_request_that_found_pages_is_returned) {
  memory_budget budget(mib);
  memory_account other(budget, [] {});
  dispatcher_rig rig({}, {}, {}, 0, {.memory = &budget});
  ASSERT_TRUE(other.try_take(memory_budget::guaranteed + 512 * kib)) << "all that is shared";
  (void)rig.begin({nbd_command::read, 1, 0, 256 * kib});
  std::uint64_t cookie = 2;
  while (rig.can_begin({nbd_command::read, cookie, 0, 20 * kib}))
    (void)rig.begin({nbd_command::read, cookie++, 0, 20 * kib});
  ASSERT_FALSE(rig.dispatch().prepare({0, nbd_command::read, cookie, 0, 20 * kib}, {}));
  // The first small read returns its pages.
  rig.queue.answer(1);
  rig.recycle();
  (void)rig.begin({nbd_command::read, cookie, 0, 20 * kib});
  other.give_back(memory_budget::guaranteed + 512 * kib);
  ASSERT_EQ(rig.granted, 1U);
  rig.dispatch().memory_granted();
  EXPECT_EQ(budget.used(), 2 * memory_budget::guaranteed);
  rig.queue.answer_all();
}

}  // namespace
}  // namespace xenpv::nbd::test
