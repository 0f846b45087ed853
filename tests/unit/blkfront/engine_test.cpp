// A frontend engine with one or a few requests: the ring requests that the backend gets, and the
// results that the caller gets. Faults are tested in engine_fault_test.cpp, traffic in
// engine_matrix_test.cpp.
#include "blkfront/engine.hpp"

#include <gmock/gmock.h>

#include <cerrno>
#include <cstring>

#include "unit/blkfront/loopback.hpp"

namespace xenpv::blkfront {
namespace {

using blk::operation;

TEST(engine, writes_and_reads_back) {
  loopback disk({});
  test_request write(operation::write, 8192, 12288, std::byte{0x5a});
  EXPECT_EQ(disk.run(write), std::error_code());
  test_request read(operation::read, 8192, 12288);
  EXPECT_EQ(disk.run(read), std::error_code());
  EXPECT_EQ(read.bytes, write.bytes);
  EXPECT_EQ(read.answers, 1u);
  EXPECT_EQ(disk.medium().data()[8191], std::byte{0});
  EXPECT_EQ(disk.medium().data()[8192], std::byte{0x5a});
  EXPECT_EQ(disk.medium().data()[20480], std::byte{0});
  EXPECT_TRUE(disk.front().is_idle());
  EXPECT_EQ(disk.pool()->free(), disk.pool()->size() - 2 - 8)
      << "two pages are reserved for merging, and eight for requests that find no free page";
}

TEST(engine, publishes_a_batch_with_one_notification) {
  loopback disk({});
  std::vector<test_request> requests;
  for (unsigned i = 0; i < 20; ++i)
    requests.emplace_back(operation::read, i * 4096, 4096);
  for (auto& r : requests)
    disk.front().submit(r);
  disk.settle();
  const auto counted = disk.front().statistics();
  EXPECT_EQ(counted.ring_requests, 20u);
  EXPECT_EQ(counted.notifies_sent, 1u);
  EXPECT_EQ(counted.operations[0].requests, 20u);
  EXPECT_EQ(counted.operations[0].bytes, 20u * 4096);
  EXPECT_EQ(counted.depth.max(), 20u);
}

TEST(engine, assigns_the_same_time_to_all_responses_of_a_turn) {
  loopback disk({});
  test_request first(operation::read, 0, 4096);
  test_request second(operation::read, 4096, 4096);
  disk.front().submit(first);
  disk.front().submit(second);
  disk.step_front(0);
  disk.now += 500;
  disk.step_back(0);
  disk.now += 500;
  disk.step_front(0);
  EXPECT_EQ(first.answered_ns, disk.now);
  EXPECT_EQ(second.answered_ns, disk.now);
}

TEST(engine, never_completes_a_request_inside_submit) {
  loopback disk({});
  test_request outside(operation::read, 1 << 20, 1);
  disk.front().submit(outside);
  EXPECT_EQ(outside.answers, 0u);
  disk.step_front(0);
  EXPECT_EQ(outside.answers, 1u);
  EXPECT_EQ(outside.status, std::errc::invalid_argument);
}

TEST(engine, refuses_requests_outside_the_device) {
  loopback disk({});
  const std::uint64_t size = 1 << 20;
  struct outside {
    std::uint64_t offset, length;
  };
  for (const auto& [offset, length] :
       {outside{size, 1}, outside{size - 1, 2}, outside{~std::uint64_t{0}, 2},
        outside{2, ~std::uint64_t{0} - 1}}) {
    test_request r(operation::discard, offset, 0);
    r.length = length;
    EXPECT_EQ(disk.run(r), std::errc::invalid_argument) << offset << '+' << length;
  }
  test_request last(operation::read, size - 1, 1);
  EXPECT_EQ(disk.run(last), std::error_code());
  test_request nothing(operation::read, size, 0);
  EXPECT_EQ(disk.run(nothing), std::error_code());
}

TEST(engine, refuses_operations_that_the_device_lacks) {
  loopback disk({.flush = false, .barrier = false, .discard = false, .read_only = true});
  test_request write(operation::write, 0, 512);
  EXPECT_EQ(disk.run(write), std::errc::read_only_file_system);
  test_request flush(operation::flush, 0, 0);
  EXPECT_EQ(disk.run(flush), std::errc::operation_not_supported);
  loopback writable({.flush = false, .barrier = false, .discard = false});
  test_request fua(operation::write, 0, 512);
  fua.fua = true;
  EXPECT_EQ(writable.run(fua), std::errc::operation_not_supported);
  test_request discard(operation::discard, 0, 512);
  EXPECT_EQ(writable.run(discard), std::errc::operation_not_supported);
  test_request secure(operation::secure_discard, 0, 512);
  EXPECT_EQ(writable.run(secure), std::errc::operation_not_supported);
}

TEST(engine, reports_no_medium_for_an_empty_drive) {
  loopback disk({.size = 4096});
  auto shape = disk.front().shape();
  shape.size = 0;
  disk.front().reshape(shape);
  test_request read(operation::read, 0, 512);
  EXPECT_EQ(disk.run(read), std::error_code(ENOMEDIUM, std::generic_category()));
}

TEST(engine, splits_transfers_larger_than_one_ring_request) {
  loopback disk({.data_pages = 300, .indirect_pages = 0});
  test_request write(operation::write, 0, 1 << 20, std::byte{1});
  EXPECT_EQ(disk.run(write), std::error_code());
  // 256 pages at 11 pages per request.
  EXPECT_EQ(disk.front().statistics().ring_requests, 24u);
  EXPECT_EQ(disk.front().statistics().segments.max(), 11u);
}

TEST(engine, sends_large_requests_indirectly) {
  loopback disk({.segments = 128, .data_pages = 300});
  test_request write(operation::write, 0, 1 << 20, std::byte{7});
  EXPECT_EQ(disk.run(write), std::error_code());
  EXPECT_EQ(disk.front().statistics().ring_requests, 2u);
  EXPECT_EQ(disk.front().statistics().indirect_requests, 2u);
  EXPECT_EQ(disk.medium().data()[(1 << 20) - 1], std::byte{7});
}

TEST(engine, streams_transfers_larger_than_its_pages) {
  loopback disk({.ring_page_order = 0, .data_pages = 20, .size = 4 << 20});
  test_request write(operation::write, 512, (4 << 20) - 1024);
  for (std::size_t i = 0; i < write.bytes.size(); ++i)
    write.bytes[i] = static_cast<std::byte>(i * 7 / 512);
  EXPECT_EQ(disk.run(write), std::error_code());
  test_request read(operation::read, 512, (4 << 20) - 1024);
  EXPECT_EQ(disk.run(read), std::error_code());
  EXPECT_TRUE(read.bytes == write.bytes);
  EXPECT_GT(disk.front().statistics().pages_short, 0u);
}

TEST(engine, moves_leased_pages_without_copying) {
  loopback disk({.segments = 64, .data_pages = 100});
  const auto free = disk.pool()->free();
  auto lease = blk::lease::try_take(disk.pool(), 4096, 200'000, 512);
  ASSERT_TRUE(lease);
  const std::vector<std::byte> bytes(200'000, std::byte{0x42});
  lease->copy_from(0, bytes);
  test_request write;
  write.op = operation::write;
  write.offset = 4096;
  write.length = 200'000 / 512 * 512;
  write.pages = &*lease;
  EXPECT_EQ(disk.run(write), std::error_code());
  EXPECT_EQ(disk.pool()->least_free(), free - 49);
  EXPECT_EQ(disk.medium().data()[4096], std::byte{0x42});
  EXPECT_EQ(disk.medium().data()[4096 + 200'000 / 512 * 512 - 1], std::byte{0x42});
  EXPECT_EQ(disk.medium().data()[4096 + 200'000 / 512 * 512], std::byte{0});
}

TEST(engine, reads_unaligned_bytes_into_a_lease) {
  loopback disk({.data_pages = 64});
  for (unsigned i = 0; i < 65536; ++i)
    disk.medium().data()[i] = static_cast<std::byte>(i % 251);
  auto lease = blk::lease::try_take(disk.pool(), 1237, 30'001, 512);
  ASSERT_TRUE(lease);
  test_request read;
  read.op = operation::read;
  read.offset = 1237;
  read.length = 30'001;
  read.pages = &*lease;
  EXPECT_EQ(disk.run(read), std::error_code());
  std::vector<std::byte> got(30'001);
  lease->copy_to(0, got);
  EXPECT_EQ(0, std::memcmp(got.data(), disk.medium().data() + 1237, got.size()));
}

TEST(engine, merges_unaligned_bytes_into_their_sectors) {
  loopback disk({.sector_size = 4096});
  test_request base(operation::write, 0, 16384, std::byte{1});
  ASSERT_EQ(disk.run(base), std::error_code());
  test_request odd(operation::write, 4000, 8000, std::byte{2});
  EXPECT_EQ(disk.run(odd), std::error_code());
  const auto* data = disk.medium().data();
  for (unsigned i = 0; i < 16384; ++i)
    ASSERT_EQ(data[i], i >= 4000 && i < 12000 ? std::byte{2} : std::byte{1}) << i;
  EXPECT_EQ(disk.front().statistics().read_modify_writes, 2u);
}

TEST(engine, keeps_both_of_two_writes_into_one_sector_through_two_queues) {
  loopback disk({.queues = 2});
  for (unsigned round = 0; round < 50; ++round) {
    const auto fill = static_cast<std::byte>(round + 1);
    test_request left(operation::write, 100, 50, fill);
    test_request right(operation::write, 150, 50, fill);
    disk.front(0).submit(left);
    disk.front(1).submit(right);
    // The worst interleaving: without locks, both queues would read the sector before either writes
    // it.
    for (unsigned i = 0; i < 20; ++i) {
      disk.step_front(0);
      disk.step_front(1);
      disk.step_back(0);
      disk.step_back(1);
    }
    ASSERT_EQ(left.answers + right.answers, 2u);
    for (unsigned i = 100; i < 200; ++i)
      ASSERT_EQ(disk.medium().data()[i], fill) << "round " << round << ", byte " << i;
  }
}

TEST(engine, delays_a_write_to_a_sector_that_another_queue_merges) {
  loopback disk({.queues = 2});
  test_request merge(operation::write, 10, 20, std::byte{1});
  test_request whole(operation::write, 0, 512, std::byte{2});
  disk.front(0).submit(merge);
  disk.step_front(0);  // holds the lock and has sent its read
  disk.step_back(0);
  disk.front(1).submit(whole);
  disk.step_front(1);
  EXPECT_EQ(disk.front(1).in_flight(), 0u);
  disk.settle();
  EXPECT_EQ(whole.answers, 1u);
  EXPECT_EQ(disk.medium().data()[15], std::byte{2});
  EXPECT_EQ(disk.medium().data()[511], std::byte{2});
}

TEST(engine, one_flush_completes_all_waiting_fua_writes) {
  loopback disk({});
  test_request first(operation::flush, 0, 0);
  std::vector<test_request> writes;
  for (unsigned i = 0; i < 10; ++i) {
    writes.emplace_back(operation::write, i * 4096, 4096, std::byte{1});
    writes.back().fua = true;
  }
  for (auto& write : writes)
    disk.front().submit(write);
  disk.settle();
  for (const auto& write : writes) {
    EXPECT_EQ(write.status, std::error_code());
    EXPECT_EQ(write.answers, 1u);
  }
  const auto counted = disk.front().statistics();
  EXPECT_EQ(counted.ring_requests, 11u);
  EXPECT_EQ(counted.flushes_merged, 9u);
}

TEST(engine, sends_the_flush_of_a_fua_write_after_its_data) {
  loopback disk({});
  test_request write(operation::write, 0, 4096, std::byte{1});
  write.fua = true;
  disk.front().submit(write);
  disk.step_front(0);
  EXPECT_EQ(disk.front().statistics().ring_requests, 1u);
  disk.step_back(0);
  disk.step_front(0);
  EXPECT_EQ(write.answers, 0u);
  EXPECT_EQ(disk.front().statistics().ring_requests, 2u);
  disk.settle();
  EXPECT_EQ(write.answers, 1u);
}

TEST(engine, uses_a_barrier_if_flush_is_not_supported) {
  loopback disk({.kind = blkback::backend_kind::tapdisk});
  test_request flush(operation::flush, 0, 0);
  EXPECT_EQ(disk.run(flush), std::error_code());
  EXPECT_EQ(disk.back().statistics().requests[2], 1u);
  EXPECT_EQ(disk.back().statistics().requests[3], 0u);
}

TEST(engine, discards_whole_granules_and_skips_partial_ones) {
  loopback disk({});
  auto shape = disk.front().shape();
  shape.discard_granularity = 8192;
  shape.discard_alignment = 4096;
  disk.front().reshape(shape);
  test_request base(operation::write, 0, 65536, std::byte{1});
  ASSERT_EQ(disk.run(base), std::error_code());
  test_request discard(operation::discard, 5000, 40'000);
  EXPECT_EQ(disk.run(discard), std::error_code());
  const auto* data = disk.medium().data();
  EXPECT_EQ(data[12287], std::byte{1});
  EXPECT_EQ(data[12288], std::byte{0});
  EXPECT_EQ(data[36863], std::byte{0});
  EXPECT_EQ(data[36864], std::byte{1}) << "the request covers this granule only in part";
  test_request crumb(operation::discard, 5000, 100);
  EXPECT_EQ(disk.run(crumb), std::error_code());
}

TEST(engine, scrubs_pages_of_an_untrusted_backend) {
  loopback disk({.scrub = true});
  test_request write(operation::write, 0, 8192, std::byte{9});
  ASSERT_EQ(disk.run(write), std::error_code());
  const auto pages = disk.pool()->take(disk.pool()->free());
  for (auto page = pages->first; page != blk::no_page; page = disk.pool()->next(page))
    for (unsigned i = 0; i < page_size; ++i)
      ASSERT_EQ(disk.pool()->data(page)[i], std::byte{0});
}

TEST(engine, accepts_requests_submitted_from_a_completion) {
  loopback disk({});
  struct chain : test_request {
    engine* target = nullptr;
    unsigned left = 5;
  };
  chain r;
  r.op = operation::read;
  r.bytes.resize(512);
  r.memory = r.bytes.data();
  r.length = 512;
  r.target = &disk.front();
  r.done = [](blk::request& completed) {
    auto& self = static_cast<chain&>(completed);
    if (self.left-- > 0) self.target->submit(self);
  };
  disk.front().submit(r);
  disk.settle();
  EXPECT_EQ(disk.front().statistics().operations[0].requests, 6u);
  EXPECT_TRUE(disk.front().is_idle());
}

}  // namespace
}  // namespace xenpv::blkfront
