// The guarantees of a flush after the backend was lost or has stopped supporting flushes.
#include <gmock/gmock.h>

#include <memory>

#include "unit/blkfront/loopback.hpp"

namespace xenpv::blkfront {
namespace {

using blk::operation;

test_request flush() {
  return {operation::flush, 0, 0};
}
test_request write(std::uint64_t offset = 0) {
  return {operation::write, offset, 4096, std::byte{1}};
}
test_request fua_write(std::uint64_t offset = 0) {
  auto r = write(offset);
  r.fua = true;
  return r;
}

/// One device with two successive connections. lose() simulates the loss of the first one.
struct two_connections {
  explicit two_connections(unsigned queues = 1)
      : ledger(std::make_shared<flush_ledger>(queues)),
        first({.queues = queues, .ledger = ledger}),
        second({.queues = queues, .ledger = ledger}) {}
  void lose() {
    for (std::size_t i = 0; i < first.queues(); ++i) {
      (void)first.front(i).take_unfinished();
      (void)ledger->lose(i);
    }
  }
  std::error_code run(loopback& disk, test_request r, std::size_t queue = 0) {
    return disk.run(r, queue);
  }
  std::shared_ptr<flush_ledger> ledger;
  loopback first;
  loopback second;
};

TEST(engine_flush, fails_once_after_a_backend_was_lost_with_answered_writes_that_were_not_flushed) {
  two_connections device;
  EXPECT_EQ(device.run(device.first, write()), std::error_code());
  device.lose();
  EXPECT_EQ(device.run(device.second, flush()), std::errc::io_error);
  EXPECT_EQ(device.second.doubtful_flushes, 1u);
  EXPECT_EQ(device.second.front().statistics().flushes_refused, 1u);
  EXPECT_EQ(device.run(device.second, flush()), std::error_code()) << "fails only once";
}

TEST(engine_flush, fails_a_fua_write_in_place_of_a_flush_after_such_a_loss) {
  two_connections device;
  EXPECT_EQ(device.run(device.first, write()), std::error_code());
  device.lose();
  EXPECT_EQ(device.run(device.second, fua_write()), std::errc::io_error);
  EXPECT_EQ(device.run(device.second, fua_write()), std::error_code());
}

TEST(engine_flush, succeeds_after_a_loss_when_all_answered_writes_were_flushed) {
  two_connections device;
  EXPECT_EQ(device.run(device.first, write()), std::error_code());
  EXPECT_EQ(device.run(device.first, fua_write(8192)), std::error_code());
  device.lose();
  EXPECT_EQ(device.run(device.second, flush()), std::error_code());
}

TEST(engine_flush, an_unanswered_flush_covers_nothing) {
  two_connections device;
  EXPECT_EQ(device.run(device.first, write()), std::error_code());
  device.first.set_faults(faults("stall=0"));
  auto lost = flush();
  device.first.front().submit(lost);
  device.first.settle();
  device.lose();
  EXPECT_EQ(device.run(device.second, std::move(lost)), std::errc::io_error);
}

TEST(engine_flush, a_flush_does_not_cover_writes_answered_after_it_was_sent) {
  two_connections device;
  auto sent_before = flush();
  device.first.front().submit(sent_before);
  device.first.step_front(0);
  auto later = write();
  device.first.front().submit(later);
  device.first.settle();
  EXPECT_EQ(sent_before.status, std::error_code());
  device.lose();
  EXPECT_EQ(device.run(device.second, flush()), std::errc::io_error);
}

TEST(engine_flush, fails_once_on_each_queue_whichever_had_the_writes) {
  two_connections device(2);
  EXPECT_EQ(device.run(device.first, write(), 1), std::error_code());
  device.lose();
  for (const std::size_t queue : {0U, 1U}) {
    EXPECT_EQ(device.run(device.second, flush(), queue), std::errc::io_error) << queue;
    EXPECT_EQ(device.run(device.second, flush(), queue), std::error_code()) << queue;
  }
}

TEST(engine_flush, a_flush_on_one_queue_covers_the_writes_of_another) {
  two_connections device(2);
  EXPECT_EQ(device.run(device.first, write(), 1), std::error_code());
  EXPECT_EQ(device.run(device.first, flush(), 0), std::error_code());
  device.lose();
  EXPECT_EQ(device.run(device.second, flush(), 0), std::error_code());
  EXPECT_EQ(device.run(device.second, flush(), 1), std::error_code());
}

TEST(engine_flush, flushes_succeed_without_the_backend_after_a_refusal) {
  loopback disk({.strict_flush = false});
  disk.set_faults(faults("refuse-flush"));
  auto first = flush();
  EXPECT_EQ(disk.run(first), std::error_code());
  EXPECT_TRUE(disk.front().shape().can_flush);
  EXPECT_EQ(disk.flushes_given_up, 1u) << "one warning";
  EXPECT_EQ(disk.back().statistics().requests[2], 1u) << "the barrier was tried";
  auto again = fua_write();
  EXPECT_EQ(disk.run(again), std::error_code());
  EXPECT_EQ(disk.flushes_given_up, 1u);
  EXPECT_EQ(disk.front().statistics().flushes_ignored, 2u);
}

TEST(engine_flush, an_error_of_the_first_empty_barrier_means_no_support) {
  for (const bool strict : {false, true}) {
    loopback disk({.kind = blkback::backend_kind::tapdisk, .flush = false, .strict_flush = strict});
    disk.set_faults(faults("error=1"));
    auto first = flush();
    EXPECT_EQ(disk.run(first), strict ? std::make_error_code(std::errc::operation_not_supported)
                                      : std::error_code());
    EXPECT_EQ(disk.front().shape().can_flush, !strict);
  }
}

TEST(engine_flush, an_error_of_a_barrier_that_worked_before_is_an_error) {
  loopback disk({.kind = blkback::backend_kind::tapdisk, .flush = false, .strict_flush = false});
  auto first = flush();
  EXPECT_EQ(disk.run(first), std::error_code());
  disk.set_faults(faults("error=1"));
  auto second = flush();
  EXPECT_EQ(disk.run(second), std::errc::io_error);
  EXPECT_EQ(disk.flushes_given_up, 0u);
}

TEST(engine_flush, an_error_of_a_cache_flush_is_an_error) {
  loopback disk({.strict_flush = false});
  disk.set_faults(faults("error=1"));
  auto first = flush();
  EXPECT_EQ(disk.run(first), std::errc::io_error);
  EXPECT_EQ(disk.flushes_given_up, 0u);
}

}  // namespace
}  // namespace xenpv::blkfront
