// A backend that fails, misbehaves, stalls or withdraws features, as seen by the caller.
#include <gmock/gmock.h>

#include "unit/blkfront/loopback.hpp"

namespace xenpv::blkfront {
namespace {

using blk::operation;
using ::testing::HasSubstr;

/// Submits four reads to a disk with a fault, and runs both ends until there is no progress.
std::vector<test_request> read_four(loopback& disk) {
  std::vector<test_request> requests;
  for (unsigned i = 0; i < 4; ++i)
    requests.emplace_back(operation::read, i * 4096, 4096);
  for (auto& r : requests)
    disk.front().submit(r);
  disk.settle();
  return requests;
}

/// Expects that the device failed with a protocol violation, that its message contains `text`, that
/// each request completed once, and that later requests fail as well.
void expect_failed(loopback& disk, std::vector<test_request>& requests, std::string_view text) {
  ASSERT_TRUE(disk.front().failure_reason());
  EXPECT_EQ(disk.front().failure_reason()->code, errc::protocol_violation);
  EXPECT_THAT(disk.front().failure_reason()->text, HasSubstr(std::string(text)));
  unsigned failed = 0;
  for (const auto& r : requests) {
    EXPECT_EQ(r.answers, 1u);
    if (r.status) {
      EXPECT_EQ(r.status, errc::protocol_violation);
      ++failed;
    }
  }
  EXPECT_GT(failed, 0u);
  test_request later(operation::read, 0, 512);
  EXPECT_EQ(disk.run(later), errc::protocol_violation);
  EXPECT_TRUE(disk.front().is_idle());
}

TEST(engine_fault, error_becomes_an_io_error_and_does_not_affect_other_requests) {
  loopback disk({});
  disk.set_faults(faults("error=3"));
  auto requests = read_four(disk);
  unsigned failed = 0;
  for (const auto& r : requests)
    if (r.status == std::errc::io_error) ++failed;
  EXPECT_EQ(failed, 1u);
  EXPECT_FALSE(disk.front().failure_reason());
  disk.set_faults({});
  test_request again(operation::read, 0, 4096);
  EXPECT_EQ(disk.run(again), std::error_code());
  EXPECT_EQ(disk.front().statistics().operations[0].errors, 1u);
}

TEST(engine_fault, error_of_one_piece_fails_the_whole_request_once) {
  loopback disk({});
  disk.set_faults(faults("error=2"));
  test_request read(operation::read, 0, 200'000);
  EXPECT_EQ(disk.run(read), std::errc::io_error);
  EXPECT_EQ(read.answers, 1u);
  EXPECT_TRUE(disk.front().is_idle());
}

TEST(engine_fault, error_of_the_read_fails_an_unaligned_write_and_unlocks_its_sector) {
  loopback disk({});
  disk.set_faults(faults("error=1"));
  test_request odd(operation::write, 10, 20, std::byte{1});
  EXPECT_EQ(disk.run(odd), std::errc::io_error);
  disk.set_faults({});
  test_request again(operation::write, 10, 20, std::byte{1});
  EXPECT_EQ(disk.run(again), std::error_code());
}

TEST(engine_fault, reordered_responses_are_accepted) {
  loopback disk({});
  disk.set_faults(faults("reorder"));
  for (const auto& r : read_four(disk))
    EXPECT_EQ(r.status, std::error_code());
}

TEST(engine_fault, a_duplicate_response_fails_the_device) {
  loopback disk({});
  disk.set_faults(faults("answer-twice=1"));
  auto requests = read_four(disk);
  expect_failed(disk, requests, "");
}

TEST(engine_fault, an_unknown_id_fails_the_device) {
  loopback disk({});
  disk.set_faults(faults("bad-id=2"));
  auto requests = read_four(disk);
  expect_failed(disk, requests, "backend answered READ with id 0x");
}

TEST(engine_fault, a_wrong_operation_fails_the_device) {
  loopback disk({});
  disk.set_faults(faults("wrong-operation=2"));
  auto requests = read_four(disk);
  expect_failed(disk, requests, ", which belongs to a READ");
}

TEST(engine_fault, a_producer_that_jumps_fails_the_device) {
  loopback disk({});
  disk.set_faults(faults("producer-jump=1"));
  auto requests = read_four(disk);
  expect_failed(disk, requests, "backend published more responses than the");
}

TEST(engine_fault, refused_indirect_requests_are_resent_as_direct_requests) {
  loopback disk({.segments = 64, .data_pages = 200});
  for (unsigned i = 0; i < 300'000; ++i)
    disk.medium().data()[i] = static_cast<std::byte>(i % 253);
  disk.set_faults(faults("refuse-indirect"));
  test_request read(operation::read, 0, 300'000);
  EXPECT_EQ(disk.run(read), std::error_code());
  for (unsigned i = 0; i < 300'000; ++i)
    ASSERT_EQ(read.bytes[i], static_cast<std::byte>(i % 253)) << i;
  auto lease = blk::lease::try_take(disk.pool(), 0, 300'000, 512);
  ASSERT_TRUE(lease);
  EXPECT_EQ(disk.front().statistics().indirect_requests, 1u) << "indirect requests are not retried";
}

TEST(engine_fault, refused_indirect_requests_of_a_lease_are_resent_as_direct_requests) {
  loopback disk({.segments = 64, .data_pages = 200});
  disk.set_faults(faults("refuse-indirect"));
  auto lease = blk::lease::try_take(disk.pool(), 512, 400'384, 512);
  ASSERT_TRUE(lease);
  std::vector<std::byte> bytes(400'384);
  for (unsigned i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<std::byte>(i % 241);
  lease->copy_from(0, bytes);
  test_request write;
  write.op = operation::write;
  write.offset = 512;
  write.length = 400'384;
  write.pages = &*lease;
  EXPECT_EQ(disk.run(write), std::error_code());
  for (unsigned i = 0; i < bytes.size(); ++i)
    ASSERT_EQ(disk.medium().data()[512 + i], bytes[i]) << i;
}

TEST(engine_fault, a_refused_flush_falls_back_to_the_barrier_and_is_then_disabled) {
  loopback disk({});
  disk.set_faults(faults("refuse-flush"));
  test_request flush(operation::flush, 0, 0);
  EXPECT_EQ(disk.run(flush), std::errc::operation_not_supported);
  EXPECT_FALSE(disk.front().shape().can_flush);
  EXPECT_EQ(disk.shape_changes, 1u);
  EXPECT_EQ(disk.back().statistics().requests[2], 1u) << "the barrier was tried";
  test_request again(operation::flush, 0, 0);
  EXPECT_EQ(disk.run(again), std::errc::operation_not_supported);
  EXPECT_EQ(disk.front().statistics().ring_requests, 2u) << "no longer sent";
}

TEST(engine_fault, a_fua_write_whose_flush_is_refused_fails) {
  loopback disk({});
  disk.set_faults(faults("refuse-flush"));
  test_request write(operation::write, 0, 512, std::byte{1});
  write.fua = true;
  EXPECT_EQ(disk.run(write), std::errc::operation_not_supported);
}

TEST(engine_fault, a_refused_discard_is_not_offered_again) {
  loopback disk({});
  disk.set_faults(faults("refuse-discard"));
  test_request discard(operation::discard, 0, 4096);
  EXPECT_EQ(disk.run(discard), std::errc::operation_not_supported);
  EXPECT_FALSE(disk.front().shape().can_discard);
}

TEST(engine_fault, a_stalled_request_times_out_and_its_pages_are_withheld_until_the_response) {
  loopback disk({});
  const auto free = disk.pool()->free();
  disk.set_faults(faults("stall=0"));
  test_request read(operation::read, 0, 8192);
  auto lease = blk::lease::try_take(disk.pool(), 65536, 12288, 512);
  test_request leased;
  leased.op = operation::read;
  leased.offset = 65536;
  leased.length = 12288;
  leased.pages = &*lease;
  disk.front().submit(read);
  disk.front().submit(leased);
  disk.settle();
  const auto started = disk.now;
  auto late = disk.front().check_deadlines(started + 999, 1000 + started);
  EXPECT_EQ(late.requests, 0u);
  disk.now = started + 5'000'000;
  late = disk.front().check_deadlines(disk.now, 1'000'000);
  EXPECT_EQ(late.requests, 2u);
  EXPECT_EQ(late.unanswered, 2u);
  EXPECT_EQ(read.status, errc::timed_out);
  EXPECT_EQ(leased.status, errc::timed_out);
  lease.reset();
  EXPECT_EQ(disk.pool()->free(), free - 5);
  EXPECT_FALSE(disk.front().is_idle());

  disk.set_faults({});
  disk.settle();
  EXPECT_EQ(disk.pool()->free(), free);
  EXPECT_TRUE(disk.front().is_idle());
  EXPECT_EQ(disk.front().statistics().answered_late, 2u);
  EXPECT_EQ(read.answers, 1u);
}

TEST(engine_fault, requests_outside_the_ring_do_not_time_out) {
  loopback disk({.data_pages = 64});
  disk.set_faults(faults("stall=0"));
  std::vector<test_request> requests;
  for (unsigned i = 0; i < 40; ++i)
    requests.emplace_back(operation::write, i * 4096 + 1, 1000, std::byte{3});
  requests.emplace_back(operation::flush, 0, 0);
  for (auto& r : requests)
    disk.front().submit(r);
  disk.settle();
  const auto in_ring = disk.front().in_flight();
  disk.now += 2'000'000;
  const auto late = disk.front().check_deadlines(disk.now, 1'000'000);
  EXPECT_EQ(late.unanswered, in_ring);
  EXPECT_LE(late.requests, in_ring);
  disk.set_faults({});
  disk.settle();
  EXPECT_TRUE(disk.front().is_idle());
  std::size_t timed_out = 0;
  for (const auto& r : requests) {
    EXPECT_EQ(r.answers, 1u);
    if (r.status == errc::timed_out)
      ++timed_out;
    else
      EXPECT_EQ(r.status, std::error_code());
  }
  EXPECT_EQ(timed_out, late.requests);
  test_request again(operation::write, 1, 1000, std::byte{3});
  EXPECT_EQ(disk.run(again), std::error_code());
  EXPECT_EQ(disk.medium().data()[500], std::byte{3});
}

TEST(engine_fault, failing_the_device_completes_each_request_once) {
  loopback disk({.data_pages = 32});
  disk.set_faults(faults("stall=0"));
  std::vector<test_request> requests;
  for (unsigned i = 0; i < 20; ++i)
    requests.emplace_back(operation::write, i * 8192 + 7, 9000);
  requests.emplace_back(operation::flush, 0, 0);
  requests.emplace_back(operation::discard, 0, 8192);
  requests.emplace_back(operation::read, 0, 500'000);
  for (auto& r : requests)
    disk.front().submit(r);
  disk.step_front(0);
  disk.front().fail(make_error(errc::lost_connection, "use the disk", "the backend is gone"));
  for (const auto& r : requests) {
    EXPECT_EQ(r.answers, 1u);
    EXPECT_EQ(r.status, errc::lost_connection);
  }
  EXPECT_TRUE(disk.front().is_idle());
  test_request later(operation::write, 0, 512);
  EXPECT_EQ(disk.run(later), errc::lost_connection);
}

TEST(engine_fault, a_failed_queue_has_nothing_to_send_when_a_hold_ends) {
  loopback disk({.queues = 2});
  test_request odd(operation::write, 10, 20, std::byte{1});
  disk.front(1).submit(odd);
  disk.step_front(1);
  // Parked until the other queue has finished its read-modify-write.
  test_request parked(operation::write, 0, 8192);
  disk.front(0).submit(parked);
  disk.step_front(0);
  disk.front(0).fail(make_error(errc::lost_connection, "use the disk"));
  EXPECT_EQ(parked.answers, 1u);
  disk.settle();
  disk.step_front(0);
  EXPECT_EQ(odd.answers, 1u);
  EXPECT_EQ(parked.answers, 1u) << "answered once";
}

TEST(engine_fault, a_queue_that_fails_does_not_block_the_merges_of_another) {
  loopback disk({.queues = 2});
  test_request first(operation::write, 10, 20, std::byte{1});
  disk.front(0).submit(first);
  disk.step_front(0);
  test_request second(operation::write, 40, 20, std::byte{2});
  disk.front(1).submit(second);
  disk.step_front(1);
  disk.front(0).fail(make_error(errc::lost_connection, "use the disk"));
  EXPECT_EQ(first.status, errc::lost_connection);
  disk.settle();
  EXPECT_EQ(second.answers, 1u);
  EXPECT_EQ(second.status, std::error_code());
}

}  // namespace
}  // namespace xenpv::blkfront
