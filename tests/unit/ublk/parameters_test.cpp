// Plans and parameters for all combinations of a disk's features, checked against the rules with
// which the driver validates them (ublk_validate_params in drivers/block/ublk_drv.c).
#include "ublk/parameters.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>

#include "xenpv/base/types.hpp"
#include "xenpv/blk/page_pool.hpp"

namespace xenpv::ublk {
namespace {

using ::testing::HasSubstr;

blk::geometry disk(std::uint32_t sector = 512) {
  blk::geometry out;
  out.size = std::uint64_t{64} << 20U;
  out.sector_size = sector;
  out.physical_sector_size = 4096;
  out.can_flush = true;
  out.preferred_transfer = std::uint64_t{1} << 20U;
  return out;
}

/// The rules of the driver.
void expect_valid(const params& found, const device_plan& plan) {
  const auto& basic = found.basic;
  EXPECT_GE(basic.logical_bs_shift, 9);
  EXPECT_LE(basic.logical_bs_shift, 12);
  EXPECT_LE(basic.logical_bs_shift, basic.physical_bs_shift);
  EXPECT_LE(basic.max_sectors, plan.max_io_bytes >> 9U);
  EXPECT_GT(basic.max_sectors, 0U);
  EXPECT_EQ(plan.max_io_bytes % page_size, 0U);
  EXPECT_GT(basic.dev_sectors, 0U);
  EXPECT_EQ(basic.dev_sectors % (1U << (basic.logical_bs_shift - 9U)), 0U);
  EXPECT_GE(basic.io_opt_shift, basic.io_min_shift);
  if ((found.types & param_type_discard) != 0) {
    EXPECT_GT(found.discard.max_discard_sectors, 0U);
    EXPECT_EQ(found.discard.max_discard_segments, 1);
    EXPECT_GT(found.discard.discard_granularity, 0U);
    EXPECT_LT(found.discard.discard_alignment, found.discard.discard_granularity);
    EXPECT_EQ(found.discard.max_discard_sectors * sector_bytes % found.discard.discard_granularity,
              0U);
  }
  EXPECT_EQ(found.discard.max_write_zeroes_sectors, 0U);
}

TEST(ublk_parameters, are_valid_for_every_disk) {
  for (const std::uint32_t sector : {512U, 1024U, 2048U, 4096U})
    for (unsigned features = 0; features < 16; ++features)
      for (const std::uint64_t granularity : {0ULL, 512ULL, 4096ULL, 3ULL << 20U, 1ULL << 40U}) {
        auto geometry = disk(sector);
        geometry.read_only = (features & 1U) != 0;
        geometry.can_flush = (features & 2U) != 0 && !geometry.read_only;
        geometry.can_discard = (features & 4U) != 0;
        geometry.discard_granularity = granularity;
        geometry.discard_alignment = granularity / 2 * 3;
        const bool asks_read_only = (features & 8U) != 0;
        const auto plan = choose_plan(geometry, 2, 224);
        const auto found = params_for(geometry, asks_read_only, plan).value();
        expect_valid(found, plan);
        const bool read_only = asks_read_only || geometry.read_only;
        const bool flushes = geometry.can_flush && !read_only;
        EXPECT_EQ(found.basic.attrs, (read_only ? attr_read_only : 0U) |
                                         (flushes ? attr_volatile_cache | attr_fua : 0U));
        EXPECT_EQ((found.types & param_type_discard) != 0, geometry.can_discard && !read_only);
        EXPECT_EQ(1U << found.basic.logical_bs_shift, sector);
        EXPECT_EQ(1U << found.basic.physical_bs_shift, 4096U);
      }
}

TEST(ublk_parameters, round_the_size_down_to_whole_sectors) {
  auto geometry = disk(4096);
  geometry.size = 4096 * 10 + 512 * 3;
  EXPECT_EQ(params_for(geometry, false, {}).value().basic.dev_sectors, 80U);
}

TEST(ublk_parameters, refuse_a_disk_that_the_driver_cannot_have) {
  for (const std::uint32_t sector : {0U, 256U, 520U, 8192U}) {
    auto geometry = disk();
    geometry.sector_size = sector;
    const auto found = params_for(geometry, false, {});
    ASSERT_TRUE(found.has_error()) << sector;
    EXPECT_THAT(found.error().text, HasSubstr("use --driver nbd"));
  }
  auto geometry = disk();
  geometry.size = 511;
  EXPECT_TRUE(params_for(geometry, false, {}).has_error());
}

TEST(ublk_parameters, plan_requests_that_fit_into_the_pages) {
  for (std::size_t pages = 0; pages < 1100; ++pages)
    for (const std::uint64_t transfer : {0ULL, 45056ULL, 131072ULL, 1ULL << 20U, 16ULL << 20U}) {
      auto geometry = disk();
      geometry.preferred_transfer = transfer;
      const auto plan = choose_plan(geometry, 2, pages);
      EXPECT_GE(plan.depth, 8) << pages;
      EXPECT_LE(plan.depth, 128);
      EXPECT_GE(plan.max_io_bytes, 32U << 10U);
      EXPECT_LE(plan.max_io_bytes, 1U << 20U);
      EXPECT_EQ(plan.copies, pages < 32) << pages;
      if (!plan.copies) {
        EXPECT_TRUE(fits(plan.max_io_bytes, pages)) << pages;
        EXPECT_LE(plan.depth, pages);
      }
    }
}

TEST(ublk_parameters, give_more_pages_more_tags_and_larger_requests) {
  device_plan before = choose_plan(disk(), 1, 32);
  for (std::size_t pages = 32; pages < 2000; ++pages) {
    const auto plan = choose_plan(disk(), 1, pages);
    // The reserve of a pool begins at 64 pages.
    if (pages != 64) {
      EXPECT_GE(plan.depth, before.depth) << pages;
      EXPECT_GE(plan.max_io_bytes, before.max_io_bytes) << pages;
    }
    before = plan;
  }
  EXPECT_EQ(before.depth, 128);
  EXPECT_EQ(before.max_io_bytes, 1U << 20U);
}

// fits() must agree with the pool, or a request would wait forever.
TEST(ublk_parameters, know_which_requests_a_pool_can_have) {
  for (const std::size_t pages : {1U, 2U, 8U, 9U, 16U, 63U, 64U, 65U, 200U}) {
    auto memory = std::make_shared<std::vector<std::byte>>(pages * page_size);
    const auto pool = std::make_shared<blk::page_pool>(*memory, memory);
    for (std::uint64_t length = 512; length <= 220 * page_size; length += 512)
      if (fits(length, pages)) {
        EXPECT_TRUE(blk::lease::try_take(pool, 0, length, 512).has_value())
            << length << " of " << pages;
      }
  }
}

TEST(ublk_parameters, require_the_features_of_linux_6_5) {
  constexpr auto enough =
      f_cmd_ioctl_encode | f_user_copy | f_user_recovery | f_user_recovery_reissue;
  EXPECT_TRUE(check_features(enough).has_value());
  for (const auto missing : {f_cmd_ioctl_encode, f_user_copy, f_user_recovery_reissue}) {
    const auto found = check_features(enough & ~missing);
    ASSERT_TRUE(found.has_error());
    EXPECT_EQ(found.error().code, errc::not_available);
    EXPECT_THAT(found.error().text, HasSubstr("Linux 6.5"));
  }
  EXPECT_EQ(flags_for(enough, false), f_cmd_ioctl_encode | f_user_copy);
  EXPECT_EQ(flags_for(enough, true), enough);
  EXPECT_EQ(flags_for(enough | f_update_size, false) & f_update_size, f_update_size);
}

dev_info left_behind() {
  dev_info out;
  out.dev_id = 3;
  out.nr_hw_queues = 2;
  out.queue_depth = 64;
  out.max_io_buf_bytes = 128U << 10U;
  out.flags = f_user_copy | f_user_recovery | f_user_recovery_reissue;
  return out;
}

TEST(ublk_parameters, take_over_the_queues_of_a_device) {
  const auto before = params_for(disk(), false, {}).value();
  const auto plan = plan_for_takeover(left_behind(), before, disk(), false, 224).value();
  EXPECT_EQ(plan, (device_plan{2, 64, 128U << 10U, false}));
  EXPECT_TRUE(plan_for_takeover(left_behind(), before, disk(), false, 20).value().copies);
}

TEST(ublk_parameters, refuse_to_take_over_a_device_that_does_not_match) {
  const auto before = params_for(disk(), false, {}).value();
  const auto refusal = [&](const dev_info& info, const blk::geometry& geometry, bool read_only) {
    const auto found = plan_for_takeover(info, before, geometry, read_only, 224);
    return found.has_error() ? found.error().text : std::string("accepted");
  };
  EXPECT_THAT(refusal(left_behind(), disk(4096), false), HasSubstr("sectors of 512 bytes"));
  EXPECT_THAT(refusal(left_behind(), disk(), true), HasSubstr("it is writable, but"));
  auto without_flush = disk();
  without_flush.can_flush = false;
  EXPECT_THAT(refusal(left_behind(), without_flush, false), HasSubstr("no longer"));
  auto foreign = left_behind();
  foreign.flags = f_user_recovery;
  EXPECT_THAT(refusal(foreign, disk(), false), HasSubstr("not created by xenpv-disk"));
  auto without_queues = left_behind();
  without_queues.nr_hw_queues = 0;
  auto too_deep = left_behind();
  too_deep.queue_depth = 5000;
  auto without_buffers = left_behind();
  without_buffers.max_io_buf_bytes = 0;
  for (const auto& odd : {without_queues, too_deep, without_buffers})
    EXPECT_THAT(refusal(odd, disk(), false), HasSubstr("the kernel reports"));
}

}  // namespace
}  // namespace xenpv::ublk
