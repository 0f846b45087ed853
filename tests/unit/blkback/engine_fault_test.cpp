// Each injected fault, as seen by a frontend.
#include <gmock/gmock.h>

#include "unit/blkback/engine_rig.hpp"

namespace xenpv::blkback::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using enum blkif_status;
using rig = engine_rig;

class faulty_engine : public ::testing::Test {
 protected:
  void set(std::string_view text) { r.backend->set_faults(parse_disk_faults(text).value()); }
  void put_reads(std::uint64_t first, std::uint64_t last) {
    for (auto id = first; id <= last; ++id)
      r.put(rig::transfer(blkif_op::read, id, 0, {page(a)}));
  }
  std::vector<std::uint64_t> ids() {
    std::vector<std::uint64_t> out;
    for (const auto& response : r.responses())
      out.push_back(response.id);
    return out;
  }
  std::vector<std::uint64_t> run() {
    (void)r.backend->run();
    return ids();
  }
  rig r;
};

TEST_F(faulty_engine, fails_every_third_request_without_executing_it) {
  set("error=3");
  r.fill(a, 0x77);
  for (std::uint64_t id = 1; id <= 6; ++id)
    EXPECT_EQ(r.status_of(rig::transfer(blkif_op::write, id, id * 8, {page(a)})),
              id % 3 == 0 ? error : okay);
  EXPECT_EQ(std::to_integer<int>(r.medium->data()[2 * 4096]), 0x77);
  EXPECT_EQ(std::to_integer<int>(r.medium->data()[3 * 4096]), 0);
}

TEST_F(faulty_engine, holds_delayed_responses_until_they_are_released) {
  set("delay=5ms:1/2");
  put_reads(1, 4);
  EXPECT_THAT(run(), ElementsAre(2, 4));
  EXPECT_EQ(r.backend->held(), 2u);
  EXPECT_EQ(r.backend->hold_time(), std::chrono::milliseconds(5));
  (void)r.backend->release(1);
  EXPECT_THAT(ids(), ElementsAre(1));
  (void)r.front.arm();
  EXPECT_TRUE(r.backend->release(9));
  EXPECT_THAT(ids(), ElementsAre(3));
}

TEST_F(faulty_engine, executes_late_writes_when_they_are_due) {
  set("late=5ms:1/2");
  const auto first_byte = [&](std::uint64_t block) {
    return std::to_integer<int>(r.medium->data()[block * 4096]);
  };
  r.fill(a, 0x11);
  for (std::uint64_t id = 1; id <= 2; ++id)
    r.put(rig::transfer(blkif_op::write, id, id * 8, {page(a)}));
  // The second write and the read are not late: they complete immediately.
  put_reads(3, 3);
  EXPECT_THAT(run(), ElementsAre(2, 3));
  EXPECT_EQ(r.backend->late(), 1u);
  EXPECT_EQ(r.backend->in_store(), 1u);
  EXPECT_EQ(r.backend->late_time(), std::chrono::milliseconds(5));
  EXPECT_EQ(first_byte(1), 0);
  // A late write stores the page's content at the time the write is executed.
  r.fill(a, 0x22);
  r.backend->carry_out(9);
  EXPECT_EQ(first_byte(1), 0x22);
  EXPECT_THAT(run(), ElementsAre(1));
  EXPECT_EQ(r.backend->in_store(), 0u);
}

TEST_F(faulty_engine, executes_late_writes_immediately_when_the_faults_change_or_it_stops) {
  r.fill(a, 0x33);
  set("late=60min");
  r.put(rig::transfer(blkif_op::write, 1, 8, {page(a)}));
  EXPECT_THAT(run(), IsEmpty());
  set("late=60min");
  EXPECT_THAT(run(), ElementsAre(1));
  r.put(rig::transfer(blkif_op::write, 2, 16, {page(a)}));
  EXPECT_THAT(run(), IsEmpty());
  r.backend->stop_taking();
  EXPECT_EQ(r.backend->in_store(), 0u);
  EXPECT_EQ(std::to_integer<int>(r.medium->data()[2 * 4096]), 0x33);
}

TEST_F(faulty_engine, consumes_no_request_while_it_stalls) {
  set("stall=2");
  put_reads(1, 4);
  EXPECT_THAT(run(), ElementsAre(1, 2));
  EXPECT_THAT(run(), IsEmpty());
  set("none");
  EXPECT_THAT(run(), ElementsAre(3, 4));
}

TEST_F(faulty_engine, responds_to_a_batch_in_reverse_order) {
  set("reorder");
  put_reads(1, 3);
  EXPECT_THAT(run(), ElementsAre(3, 2, 1));
}

TEST_F(faulty_engine, responds_twice) {
  set("answer-twice=2");
  put_reads(1, 3);
  EXPECT_TRUE(r.backend->run(2).more);
  EXPECT_THAT(ids(), ElementsAre(1, 2, 2));
  // With more responses than requests, the ring is broken for the backend as well.
  (void)r.backend->run();
  EXPECT_TRUE(r.backend->halted());
}

TEST_F(faulty_engine, responds_with_unknown_ids) {
  set("bad-id=2");
  put_reads(1, 2);
  EXPECT_THAT(run(), ElementsAre(1, 0xDEAD'BEEF'0BAD'1D00 ^ 2));
}

TEST_F(faulty_engine, responds_with_the_wrong_operation) {
  set("wrong-operation=1");
  EXPECT_EQ(r.answer_to(rig::transfer(blkif_op::read, 1, 0, {page(a)})).operation, 1);
}

TEST_F(faulty_engine, moves_the_response_index_beyond_the_ring) {
  set("producer-jump=1");
  put_reads(1, 1);
  (void)r.backend->run();
  EXPECT_EQ(r.front.available(), std::nullopt);
  // The backend halts, but does not crash.
  put_reads(2, 9);
  (void)r.backend->run();
  EXPECT_TRUE(r.backend->halted());
}

TEST_F(faulty_engine, consumes_no_request_after_it_vanished) {
  set("vanish=2");
  put_reads(1, 3);
  EXPECT_THAT(run(), ElementsAre(1, 2));
  EXPECT_TRUE(r.backend->vanished());
  set("none");
  EXPECT_THAT(run(), IsEmpty());
}

TEST_F(faulty_engine, refuses_operations_that_it_offered) {
  set("refuse-indirect refuse-flush refuse-discard");
  const auto refused = r.answer_to(r.indirect(blkif_op::write, 1, 0, {page(a)}, a + 5));
  EXPECT_EQ(refused.status, -2);
  EXPECT_EQ(refused.operation, 1);
  EXPECT_EQ(r.status_of(rig::transfer(blkif_op::flush_diskcache, 2, 0, {})), eopnotsupp);
  EXPECT_EQ(r.status_of(rig::transfer(blkif_op::write_barrier, 3, 0, {page(a)})), eopnotsupp);
  EXPECT_EQ(r.status_of(rig::discard(4, 0, 8)), eopnotsupp);
  set("none");
  EXPECT_EQ(r.status_of(r.indirect(blkif_op::write, 5, 0, {page(a)}, a + 5)), okay);
  EXPECT_EQ(r.status_of(rig::discard(6, 0, 8)), okay);
}

}  // namespace
}  // namespace xenpv::blkback::test
