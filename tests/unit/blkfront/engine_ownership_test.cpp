// Memory that the backend may still access: bytes and pages of a request that completed before the
// backend responded to its ring requests.
#include <gmock/gmock.h>

#include <algorithm>
#include <cstring>

#include "unit/blkfront/loopback.hpp"

namespace xenpv::blkfront {
namespace {

using blk::operation;

constexpr std::uint64_t limit = 1'000'000;

/// Submits a write to which the backend does not respond, and lets it time out.
void time_out(loopback& disk, test_request& r, std::size_t queue = 0) {
  disk.set_faults(faults("stall=0"));
  disk.front(queue).submit(r);
  disk.settle();
  disk.now += 2 * limit;
  EXPECT_EQ(disk.front(queue).check_deadlines(disk.now, limit).requests, 1u);
  EXPECT_EQ(r.answers, 1u);
  EXPECT_EQ(r.status, errc::timed_out);
}

TEST(engine_ownership, a_write_that_timed_out_is_not_applied_over_a_newer_one) {
  // Writes within one page (the fast path), to several pages, and unaligned ones. The newer write
  // overlaps the older one fully or in part.
  struct sizes {
    std::uint64_t first_at, first, second_at, second;
  };
  for (const auto& s :
       {sizes{0, 4096, 0, 4096}, sizes{0, 65536, 8192, 512}, sizes{512, 512, 0, 65536},
        sizes{0, 4096, 100, 50}, sizes{0, 65536, 4095, 10'000}}) {
    loopback disk({});
    test_request a(operation::write, s.first_at, s.first, std::byte{0xAA});
    time_out(disk, a);
    test_request b(operation::write, s.second_at, s.second, std::byte{0xBB});
    disk.front().submit(b);
    disk.settle();
    EXPECT_EQ(b.answers, 0u) << "the backend may still apply the first write";
    test_request elsewhere(operation::write, 1 << 19, 4096, std::byte{1});
    disk.front().submit(elsewhere);
    disk.set_faults({});
    disk.settle();
    EXPECT_EQ(b.answers, 1u);
    EXPECT_EQ(b.status, std::error_code());
    EXPECT_EQ(elsewhere.status, std::error_code());
    for (auto at = s.second_at; at < s.second_at + s.second; ++at)
      ASSERT_EQ(disk.medium().data()[at], std::byte{0xBB}) << at;
  }
}

TEST(engine_ownership, a_discard_waits_for_a_write_that_timed_out_and_a_write_for_a_discard) {
  for (const bool discards_first : {false, true}) {
    loopback disk({});
    const auto make = [](bool discards) {
      return discards ? test_request(operation::discard, 0, 65536)
                      : test_request(operation::write, 0, 65536, std::byte{7});
    };
    auto a = make(discards_first);
    time_out(disk, a);
    auto b = make(!discards_first);
    disk.front().submit(b);
    disk.settle();
    EXPECT_EQ(b.answers, 0u);
    disk.set_faults({});
    disk.settle();
    EXPECT_EQ(b.status, std::error_code());
    EXPECT_EQ(disk.medium().data()[100], discards_first ? std::byte{7} : std::byte{0});
  }
}

TEST(engine_ownership, a_write_through_another_queue_waits_for_one_that_timed_out) {
  loopback disk({.queues = 3});
  test_request a(operation::write, 0, 8192, std::byte{0xAA});
  time_out(disk, a, 2);
  test_request b(operation::write, 4096, 512, std::byte{0xBB});
  test_request odd(operation::write, 100, 50, std::byte{0xCC});
  disk.front(0).submit(b);
  disk.front(1).submit(odd);
  disk.settle();
  EXPECT_EQ(b.answers, 0u);
  EXPECT_EQ(odd.answers, 0u);
  disk.set_faults({});
  disk.settle();
  EXPECT_EQ(b.status, std::error_code());
  EXPECT_EQ(odd.status, std::error_code());
  EXPECT_EQ(disk.medium().data()[4096], std::byte{0xBB});
  EXPECT_EQ(disk.medium().data()[120], std::byte{0xCC});
}

TEST(engine_ownership, a_fence_in_transit_to_the_other_queues_is_raised_only_once) {
  loopback disk({.queues = 2});
  disk.set_faults(faults("stall=0"));
  disk.fences_wait = true;
  test_request early(operation::write, 0, 4096, std::byte{0xAA});
  disk.front(0).submit(early);
  disk.settle();
  disk.now += 2 * limit;
  test_request late(operation::write, 1 << 19, 4096, std::byte{0xBB});
  disk.front(0).submit(late);
  disk.settle();
  EXPECT_EQ(disk.front(0).check_deadlines(disk.now, limit).requests, 1u);
  disk.now += 2 * limit;
  EXPECT_EQ(disk.front(0).check_deadlines(disk.now, limit).requests, 1u);
  EXPECT_EQ(disk.fences_in_transit.size(), 2u) << "one for each of the two writes";
  disk.deliver_fences();
  EXPECT_EQ(early.status, errc::timed_out);
  EXPECT_EQ(late.status, errc::timed_out);
  disk.set_faults({});
  disk.settle();
  test_request after(operation::write, 0, 4096, std::byte{0xCC});
  EXPECT_EQ(disk.run(after, 1), std::error_code());
  EXPECT_EQ(after.answers, 1u);
}

TEST(engine_ownership, reads_do_not_wait_for_a_write_that_timed_out) {
  loopback disk({.ring_page_order = 1});
  test_request a(operation::write, 0, 4096, std::byte{0xAA});
  time_out(disk, a);
  disk.set_faults({});
  test_request read(operation::read, 0, 4096);
  EXPECT_EQ(disk.run(read), std::error_code());
}

TEST(engine_ownership, a_request_behind_one_that_timed_out_waits_for_its_response) {
  loopback disk({});
  test_request a(operation::write, 0, 4096, std::byte{0xAA});
  time_out(disk, a);
  test_request b(operation::write, 0, 4096, std::byte{0xBB});
  test_request odd(operation::write, 10, 10, std::byte{0xCC});
  disk.front().submit(b);
  disk.front().submit(odd);
  disk.settle();
  disk.now += 20 * limit;
  EXPECT_EQ(disk.front().check_deadlines(disk.now, limit).requests, 0u);
  disk.set_faults({});
  disk.settle();
  EXPECT_EQ(b.status, std::error_code());
  EXPECT_EQ(odd.status, std::error_code());
  EXPECT_TRUE(disk.front().is_idle());
}

TEST(engine_ownership,
     a_request_that_waits_for_its_turn_does_not_time_out_while_others_are_answered) {
  loopback disk({.data_pages = 20});
  test_request large(operation::write, 0, 1 << 20, std::byte{1});
  disk.front().submit(large);
  for (unsigned i = 0; i < 10; ++i) {
    disk.step_front(0);
    disk.now += limit / 2;
    disk.step_back(0);
    disk.step_front(0);
    EXPECT_EQ(disk.front().check_deadlines(disk.now, limit).requests, 0u);
  }
  EXPECT_EQ(large.answers, 0u);
  disk.settle();
  EXPECT_EQ(large.status, std::error_code());
}

TEST(engine_ownership, leased_pages_of_a_failed_engine_are_not_reused) {
  loopback disk({.data_pages = 32});
  disk.set_faults(faults("stall=0"));
  auto lease = blk::lease::try_take(disk.pool(), 0, 8192, 512);
  const std::vector<std::byte> payload(8192, std::byte{0xAA});
  lease->copy_from(0, payload);
  test_request write;
  write.op = operation::write;
  write.length = 8192;
  write.pages = &*lease;
  disk.front().submit(write);
  disk.step_front(0);
  disk.front().fail(make_error(errc::lost_connection, "use the disk"));
  EXPECT_EQ(write.status, errc::lost_connection);
  lease.reset();
  // Another request's payload in the pages that are still free.
  auto other = blk::lease::try_take(disk.pool(), 0, 28 * 4096, 512);
  if (!other) other = blk::lease::try_take(disk.pool(), 0, 27 * 4096, 512);
  ASSERT_TRUE(other);
  const std::vector<std::byte> secret(other->length(), std::byte{0xEE});
  other->copy_from(0, secret);
  disk.set_faults({});
  disk.step_back(0);
  EXPECT_NE(disk.medium().data()[0], std::byte{0xEE}) << "another request's payload at this offset";
  EXPECT_NE(disk.medium().data()[8191], std::byte{0xEE});
}

TEST(engine_ownership, ring_entries_contain_only_the_request) {
  // The unused segments of a ring entry must not leak stack contents.
  loopback disk({});
  auto* const entry = reinterpret_cast<unsigned char*>(disk.ring_memory().data()) + 64;
  constexpr auto segments = offsetof(wire::blkif_request, seg);
  for (const std::size_t length : {512U, 4096U, 8192U, 24'576U}) {
    loopback fresh({});
    auto* const bytes = reinterpret_cast<unsigned char*>(fresh.ring_memory().data()) + 64;
    std::memset(bytes, 0x5A, 112);
    test_request r(operation::read, 0, length);
    fresh.front().submit(r);
    fresh.step_front(0);
    const auto used = segments + (length + 4095) / 4096 * sizeof(wire::blkif_segment);
    EXPECT_EQ(std::count(bytes + used, bytes + 112, 0x5A), static_cast<std::ptrdiff_t>(112 - used))
        << length;
  }
  std::memset(entry, 0x5A, 112);
  test_request flush(operation::flush, 0, 0);
  disk.front().submit(flush);
  disk.step_front(0);
  EXPECT_EQ(std::count(entry + segments, entry + 112, 0x5A),
            static_cast<std::ptrdiff_t>(112 - segments));
}

TEST(engine_ownership, an_abandoned_lease_is_refused_when_it_is_submitted_again) {
  loopback disk({});
  disk.set_faults(faults("stall=0"));
  auto lease = blk::lease::try_take(disk.pool(), 0, 8192, 512);
  test_request read;
  read.op = operation::read;
  read.length = 8192;
  read.pages = &*lease;
  disk.front().submit(read);
  disk.settle();
  disk.now += 2 * limit;
  EXPECT_EQ(disk.front().check_deadlines(disk.now, limit).requests, 1u);
  EXPECT_FALSE(*lease);
  EXPECT_EQ(lease->length(), 0u);
  disk.front().submit(read);
  disk.set_faults({});
  disk.settle();
  EXPECT_EQ(read.answers, 2u);
  EXPECT_EQ(read.status, std::errc::invalid_argument);
}

}  // namespace
}  // namespace xenpv::blkfront
