// Every request completes exactly once. Each test covers a case that once violated this rule.
#include <gmock/gmock.h>

#include "unit/blkfront/loopback.hpp"

namespace xenpv::blkfront {
namespace {

using blk::operation;

TEST(engine_answer_once, a_refused_piece_when_the_device_fails_in_the_same_turn) {
  loopback disk({.segments = 64, .data_pages = 100});
  disk.set_faults(faults("refuse-indirect bad-id=2"));
  test_request large(operation::read, 0, 100'000);
  test_request small(operation::read, 0, 512);
  disk.front().submit(large);
  disk.front().submit(small);
  disk.settle();
  EXPECT_EQ(large.answers, 1u);
  EXPECT_EQ(large.status, errc::protocol_violation);
  EXPECT_EQ(small.answers, 1u);
  EXPECT_EQ(disk.front().unfinished(), 0u);
}

TEST(engine_answer_once, an_empty_write_with_fua) {
  for (const std::uint64_t offset : {0U, 4096U, 4097U}) {
    loopback disk({});
    test_request write(operation::write, offset, 0);
    write.fua = true;
    EXPECT_EQ(disk.run(write), std::error_code());
    EXPECT_EQ(write.answers, 1u);
    EXPECT_EQ(disk.front().statistics().ring_requests, 1u) << "only the flush";
  }
}

TEST(engine_answer_once, fua_is_ignored_on_requests_that_do_not_write) {
  loopback disk({.flush = false, .barrier = false});
  for (const auto op : {operation::read, operation::discard}) {
    test_request empty(op, 700, 0);
    empty.memory = nullptr;
    empty.fua = true;
    EXPECT_EQ(disk.run(empty), std::error_code());
    EXPECT_EQ(empty.answers, 1u);
  }
  EXPECT_EQ(disk.front().statistics().ring_requests, 0u);
  test_request read(operation::read, 0, 512);
  read.fua = true;
  EXPECT_EQ(disk.run(read), std::error_code());
}

TEST(engine_answer_once, a_request_with_pages_behind_one_that_waits_for_them) {
  // The engine reserves two pages; the lease holds all others.
  loopback disk({.data_pages = 14});
  auto lease = blk::lease::try_take(disk.pool(), 0, 12 * 4096, 512);
  ASSERT_TRUE(lease);
  test_request copied(operation::read, 0, 65536);
  test_request leased;
  leased.op = operation::write;
  leased.length = 12 * 4096;
  leased.pages = &*lease;
  test_request discard(operation::discard, 0, 4096);
  disk.front().submit(copied);
  disk.front().submit(leased);
  disk.front().submit(discard);
  disk.settle();
  EXPECT_EQ(leased.answers, 1u);
  EXPECT_EQ(discard.answers, 1u);
  EXPECT_EQ(copied.answers, 0u) << "the caller still holds the pages";
  lease.reset();
  disk.settle();
  EXPECT_EQ(copied.answers, 1u);
  EXPECT_EQ(copied.status, std::error_code());
}

TEST(engine_answer_once, a_merge_of_another_queue_when_a_write_fails_half_sent) {
  loopback disk({.queues = 2, .data_pages = 20});
  test_request large(operation::write, 0, 1 << 20);
  disk.front(0).submit(large);
  disk.step_front(0);
  // Writes into the part of the large request that the first queue has not sent yet.
  test_request odd(operation::write, 900'001, 10, std::byte{9});
  disk.front(1).submit(odd);
  disk.step_front(1);
  disk.set_faults(faults("error=1"));
  disk.step_back(0);
  disk.set_faults({});
  disk.settle();
  EXPECT_EQ(large.status, std::errc::io_error);
  EXPECT_EQ(large.answers, 1u);
  EXPECT_EQ(odd.answers, 1u);
  EXPECT_EQ(odd.status, std::error_code());
  EXPECT_EQ(disk.medium().data()[900'005], std::byte{9});
}

TEST(engine_answer_once, an_odd_write_that_fails_half_sent_while_it_waits_for_its_own_sector) {
  loopback disk({.data_pages = 20});
  // The second write waits for the lock on its first sector until the first write has completed.
  test_request before(operation::write, 0, 4096);
  test_request odd(operation::write, 100, 500'000);
  disk.front().submit(before);
  disk.front().submit(odd);
  disk.step_front(0);
  disk.set_faults(faults("error=1"));
  disk.step_back(0);
  disk.set_faults({});
  disk.settle();
  EXPECT_EQ(before.answers, 1u);
  EXPECT_EQ(odd.answers, 1u);
  EXPECT_EQ(odd.status, std::errc::io_error);
  EXPECT_TRUE(disk.front().is_idle());
}

TEST(engine_answer_once, an_odd_write_whose_sector_another_write_needs_that_waits_for_its_pages) {
  loopback disk({.data_pages = 14});
  // The lease of an unaligned write that ends within a sector. The lease holds all pages except
  // those that the engine reserves.
  auto lease = blk::lease::try_take(disk.pool(), 0, 11 * 4096 + 100, 512);
  ASSERT_TRUE(lease);
  test_request blocked(operation::write, 40'960, 8192, std::byte{1});
  test_request odd;
  odd.op = operation::write;
  odd.length = 11 * 4096 + 100;
  odd.pages = &*lease;
  disk.front().submit(blocked);
  disk.front().submit(odd);
  disk.settle();
  EXPECT_EQ(odd.answers, 1u);
  EXPECT_EQ(odd.status, std::error_code());
  lease.reset();
  disk.settle();
  EXPECT_EQ(blocked.answers, 1u);
  EXPECT_EQ(blocked.status, std::error_code());
}

TEST(engine_answer_once, an_odd_write_behind_a_merge_that_waits_for_a_write_that_timed_out) {
  loopback disk({});
  disk.set_faults(faults("stall=0"));
  // Two unaligned writes request locks on sectors that `whole` is writing. `whole` times out; the
  // locks are granted once the backend has responded to it.
  test_request whole(operation::write, 0, 4096);
  disk.front().submit(whole);
  disk.step_front(0);
  test_request first(operation::write, 1, 2);
  disk.front().submit(first);
  disk.step_front(0);
  disk.now += 1'000'000;
  test_request second(operation::write, 513, 2, std::byte{5});
  disk.front().submit(second);
  disk.step_front(0);
  EXPECT_EQ(disk.front().check_deadlines(disk.now + 1000, 500'000).requests, 1u);
  EXPECT_EQ(whole.status, errc::timed_out);
  disk.set_faults({});
  disk.settle();
  EXPECT_EQ(second.answers, 1u);
  EXPECT_EQ(second.status, std::error_code());
  EXPECT_EQ(disk.medium().data()[513], std::byte{5});
}

/// On completion, leases all free pages and submits a write from them.
struct greedy_request : test_request {
  explicit greedy_request(loopback& target) : test_request(operation::read, 0, 512), disk(target) {
    done = [](blk::request& r) {
      auto& self = static_cast<greedy_request&>(r);
      ++self.answers;
      const auto all = self.disk.pool()->free() * 4096;
      self.taken = blk::lease::try_take(self.disk.pool(), 0, all, 512);
      self.next.op = operation::write;
      self.next.length = all;
      self.next.pages = &*self.taken;
      self.disk.front().submit(self.next);
    };
  }
  loopback& disk;
  std::optional<blk::lease> taken;
  test_request next;
};

TEST(engine_answer_once, a_request_with_pages_behind_a_refused_piece_that_waits_for_them) {
  loopback disk({.segments = 64, .data_pages = 40});
  disk.set_faults(faults("refuse-indirect"));
  test_request refused(operation::read, 500'000, 20 * 4096);
  auto lease = blk::lease::try_take(disk.pool(), 0, 13 * 4096, 512);
  test_request leased;
  leased.length = 13 * 4096;
  leased.pages = &*lease;
  greedy_request greedy(disk);
  disk.front().submit(refused);
  disk.front().submit(leased);
  disk.front().submit(greedy);
  disk.settle();
  EXPECT_EQ(greedy.next.answers, 1u);
  EXPECT_EQ(leased.answers, 1u) << "also refused, and resent from its own pages";
  EXPECT_EQ(refused.answers, 0u) << "the caller holds its pages";
  greedy.taken.reset();
  disk.settle();
  EXPECT_EQ(refused.answers, 1u);
  EXPECT_EQ(refused.status, std::error_code());
}

/// Drives both ends from its completion handler, as block_queue::commit() may do.
struct driving_request : test_request {
  driving_request(loopback& target, std::uint64_t position)
      : test_request(operation::read, position, 4096), disk(target) {
    done = [](blk::request& r) {
      auto& self = static_cast<driving_request&>(r);
      ++self.answers;
      self.disk.step_back(0);
      self.disk.step_front(0);
    };
  }
  loopback& disk;
};

TEST(engine_answer_once, a_request_whose_answer_is_taken_while_others_time_out) {
  loopback disk({});
  driving_request first(disk, 0);
  driving_request second(disk, 4096);
  disk.front().submit(first);
  disk.front().submit(second);
  disk.step_front(0);
  disk.now += 2'000'000;
  EXPECT_EQ(disk.front().check_deadlines(disk.now, 1'000'000).requests, 2u);
  EXPECT_EQ(first.answers, 1u);
  EXPECT_EQ(second.answers, 1u);
  EXPECT_EQ(first.status, errc::timed_out);
  EXPECT_EQ(second.status, errc::timed_out);
}

TEST(engine_answer_once, a_discard_that_times_out_leaves_its_callers_pages_alone) {
  loopback disk({});
  auto lease = blk::lease::try_take(disk.pool(), 0, 8192, 512);
  test_request discard(operation::discard, 0, 8192);
  discard.pages = &*lease;
  disk.set_faults(faults("stall=0"));
  disk.front().submit(discard);
  disk.settle();
  disk.now += 2'000'000;
  EXPECT_EQ(disk.front().check_deadlines(disk.now, 1'000'000).requests, 1u);
  EXPECT_TRUE(*lease);
}

TEST(engine_answer_once, refused_features_stay_off_when_the_disk_is_resized) {
  loopback disk({.queues = 2});
  disk.set_faults(faults("refuse-flush"));
  test_request flush(operation::flush, 0, 0);
  auto shape = disk.front().shape();
  EXPECT_EQ(disk.run(flush), std::errc::operation_not_supported);
  // The control thread still has the geometry from before the refusal.
  shape.size /= 2;
  disk.front().reshape(shape);
  EXPECT_EQ(disk.front().shape().size, 1u << 19);
  EXPECT_FALSE(disk.front().shape().can_flush);
  test_request again(operation::flush, 0, 0);
  EXPECT_EQ(disk.run(again), std::errc::operation_not_supported);
  EXPECT_EQ(disk.front().statistics().ring_requests, 1u);
}

TEST(engine_merge, does_not_write_back_bytes_read_before_another_queues_write) {
  // Writes within one page (the fast path), and to several pages.
  for (const std::size_t length : {512U, 4096U, 8192U}) {
    loopback disk({.queues = 2});
    test_request whole(operation::write, 0, length, std::byte{0x11});
    disk.front(0).submit(whole);
    disk.step_front(0);
    test_request odd(operation::write, 10, 20, std::byte{0x22});
    disk.front(1).submit(odd);
    for (unsigned i = 0; i < 3; ++i) {
      disk.step_front(1);
      disk.step_back(1);
    }
    EXPECT_EQ(odd.answers, 0u) << "the first queue's write is in flight";
    disk.settle();
    EXPECT_EQ(odd.answers, 1u);
    EXPECT_EQ(disk.medium().data()[9], std::byte{0x11});
    EXPECT_EQ(disk.medium().data()[10], std::byte{0x22});
    EXPECT_EQ(disk.medium().data()[30], std::byte{0x11});
  }
}

}  // namespace
}  // namespace xenpv::blkfront
