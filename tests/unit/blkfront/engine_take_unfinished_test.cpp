// An engine that lost its backend: the requests that it returns, and how another engine replays
// them.
#include <gmock/gmock.h>

#include <vector>

#include "unit/blkfront/loopback.hpp"

namespace xenpv::blkfront {
namespace {

using blk::operation;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(engine_take_unfinished, returns_unanswered_requests_in_submission_order) {
  loopback disk({.data_pages = 24});
  test_request in_ring(operation::write, 0, 4096, std::byte{1});
  test_request waits_for_pages(operation::write, 65536, 256 * 1024, std::byte{2});
  test_request odd(operation::write, 10, 100, std::byte{3});
  test_request flush(operation::flush, 0, 0);
  test_request fresh(operation::read, 8192, 512);
  disk.front().submit(in_ring);
  disk.front().submit(waits_for_pages);
  disk.front().submit(odd);
  disk.front().submit(flush);
  disk.step_front(0);
  disk.front().submit(fresh);
  const auto all = disk.front().take_unfinished();
  EXPECT_THAT(all, ElementsAre(&in_ring, &waits_for_pages, &odd, &flush, &fresh));
  for (const auto* r : all)
    EXPECT_EQ(static_cast<const test_request*>(r)->answers, 0U);
  EXPECT_EQ(disk.front().unfinished(), 0U);
  EXPECT_TRUE(disk.front().is_idle());
  EXPECT_THAT(disk.front().take_unfinished(), IsEmpty());
}

TEST(engine_take_unfinished, does_not_return_answered_or_timed_out_requests) {
  loopback disk({});
  test_request answered(operation::read, 0, 512);
  EXPECT_EQ(disk.run(answered), std::error_code());
  test_request late(operation::read, 0, 512);
  disk.front().submit(late);
  disk.step_front(0);
  disk.now += 1'000'000;
  EXPECT_EQ(disk.front().check_deadlines(disk.now, 1000).requests, 1U);
  EXPECT_EQ(late.status, errc::timed_out);
  EXPECT_THAT(disk.front().take_unfinished(), IsEmpty());
}

TEST(engine_take_unfinished, requests_in_every_stage_can_be_resubmitted_to_another_engine) {
  for (unsigned steps = 0; steps < 12; ++steps) {
    loopback before({.segments = 64, .data_pages = 40});
    std::vector<test_request> all;
    all.reserve(6);
    all.emplace_back(operation::write, 0, 4096, std::byte{1});
    all.emplace_back(operation::write, 4096, 200'000, std::byte{2});
    all.emplace_back(operation::write, 300'007, 5000, std::byte{3});
    all.emplace_back(operation::write, 400'000 / 512 * 512, 512, std::byte{4});
    all.back().fua = true;
    all.emplace_back(operation::flush, 0, 0);
    all.emplace_back(operation::read, 500'000, 100);
    for (auto& r : all)
      before.front().submit(r);
    for (unsigned i = 0; i < steps; ++i) {
      before.step_front(0);
      before.step_back(0, 1);
    }
    // Another backend, whose disk is still empty.
    loopback after({.segments = 11, .data_pages = 20, .indirect_pages = 0});
    std::vector<bool> replayed(all.size());
    for (auto* const r : before.front().take_unfinished()) {
      replayed[static_cast<std::size_t>(static_cast<test_request*>(r) - all.data())] = true;
      after.front().submit(*r);
    }
    after.settle();
    for (std::size_t i = 0; i < all.size(); ++i) {
      EXPECT_EQ(all[i].answers, 1U) << "step " << steps << ", request " << i;
      EXPECT_EQ(all[i].status, std::error_code()) << "step " << steps << ", request " << i;
      const auto& r = all[i];
      if (r.op != operation::write || !replayed[i]) continue;
      for (std::uint64_t at = r.offset; at < r.offset + r.length; at += 97)
        ASSERT_EQ(after.medium().data()[at], r.bytes[0]) << "step " << steps << ", byte " << at;
    }
  }
}

TEST(engine_take_unfinished, a_lease_of_the_lost_pool_is_copied) {
  loopback before({});
  loopback after({});
  auto pages = blk::lease::try_take(before.pool(), 0, 8192, 512);
  ASSERT_TRUE(pages);
  const std::vector<std::byte> bytes(8192, std::byte{5});
  pages->copy_from(0, bytes);
  test_request write(operation::write, 0, 0);
  write.length = 8192;
  write.memory = nullptr;
  write.pages = &*pages;
  before.front().submit(write);
  before.step_front(0);
  ASSERT_THAT(before.front().take_unfinished(), ElementsAre(&write));
  const auto free_before = before.pool()->free();
  EXPECT_TRUE(pages->move_out());
  EXPECT_EQ(before.pool()->free(), free_before + 2) << "its pages were returned";
  EXPECT_EQ(after.run(write), std::error_code());
  EXPECT_EQ(after.medium().data()[8191], std::byte{5});
}

TEST(engine_take_unfinished, extends_deadlines_by_the_time_without_a_backend) {
  loopback disk({});
  test_request read(operation::read, 0, 512);
  disk.front().submit(read);
  disk.step_front(0);
  disk.now += 10'000;
  disk.front().extend_deadlines(9'500);
  EXPECT_EQ(disk.front().check_deadlines(disk.now, 1000).requests, 0U);
  disk.now += 1000;
  EXPECT_EQ(disk.front().check_deadlines(disk.now, 1000).requests, 1U);
}

}  // namespace
}  // namespace xenpv::blkfront
