// Many concurrent requests: they do not starve, and small ones do not wait for all large ones.
#include <gmock/gmock.h>

#include <deque>

#include "unit/blkfront/loopback.hpp"

namespace xenpv::blkfront {
namespace {

using blk::operation;

TEST(engine_merge_load, a_wide_write_is_not_overtaken_by_later_merges) {
  loopback disk({.data_pages = 64});
  // Unaligned writes to sectors of the wide write keep arriving, each before the previous one has
  // completed.
  std::deque<test_request> odd;
  const auto add_odd = [&](unsigned n) {
    auto& r = odd.emplace_back(operation::write, 512 * (1 + n % 7) + 1, 10, std::byte{1});
    disk.front().submit(r);
  };
  for (unsigned i = 0; i < 4; ++i)
    add_odd(i);
  disk.step_front(0);
  // The wide write consists of whole sectors in leased pages.
  auto lease = blk::lease::try_take(disk.pool(), 0, 8192, 512);
  ASSERT_TRUE(lease);
  test_request wide;
  wide.op = operation::write;
  wide.length = 8192;
  wide.pages = &*lease;
  disk.front().submit(wide);
  unsigned later = 0;
  while (wide.answers == 0 && later < 200) {
    add_odd(4 + later++);
    disk.step_front(0);
    disk.step_back(0);
    disk.now += 1000;
  }
  EXPECT_EQ(wide.answers, 1u);
  EXPECT_LT(later, 20u) << "only merges that began before the wide write precede it";
  disk.settle();
  for (const auto& r : odd)
    EXPECT_EQ(r.status, std::error_code());
}

TEST(engine_merge_load, a_small_request_does_not_wait_for_the_pages_of_all_large_ones) {
  loopback disk({.data_pages = 64, .size = 64 << 20});
  std::deque<test_request> large;
  for (unsigned i = 0; i < 40; ++i)
    disk.front().submit(large.emplace_back(operation::write, i << 20, 1 << 20, std::byte{1}));
  disk.step_front(0);
  test_request small(operation::read, 63 << 20, 4096);
  disk.front().submit(small);
  unsigned turns = 0;
  for (; small.answers == 0 && turns < 100; ++turns) {
    disk.step_front(0);
    disk.step_back(0);
  }
  EXPECT_LT(turns, 4u);
  disk.settle();
  for (const auto& r : large)
    EXPECT_EQ(r.status, std::error_code());
}

/// Resubmits itself on completion as long as `goes_on` is set.
struct endless_request : test_request {
  endless_request(loopback& target, std::uint64_t position)
      : test_request(operation::read, position, 4096), disk(target) {
    done = [](blk::request& r) {
      auto& self = static_cast<endless_request&>(r);
      ++self.answers;
      if (self.goes_on) self.disk.front().submit(self);
    };
  }
  loopback& disk;
  bool goes_on = true;
};

TEST(engine_merge_load, a_large_request_is_not_starved_by_small_ones) {
  loopback disk({.ring_page_order = 2, .data_pages = 64, .size = 64 << 20});
  std::deque<endless_request> small;
  for (unsigned i = 0; i < 100; ++i)
    disk.front().submit(small.emplace_back(disk, i * 4096));
  disk.step_front(0);
  test_request large(operation::write, 32 << 20, 1 << 20, std::byte{1});
  disk.front().submit(large);
  unsigned turns = 0;
  for (; large.answers == 0 && turns < 2000; ++turns) {
    disk.step_front(0);
    disk.step_back(0, 8);
    disk.now += 1000;
  }
  EXPECT_EQ(large.answers, 1u);
  for (auto& r : small)
    r.goes_on = false;
  disk.settle();
}

}  // namespace
}  // namespace xenpv::blkfront
