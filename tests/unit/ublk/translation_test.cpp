// Every operation of the driver's requests, and every errno of their results.
#include "ublk/translation.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <limits>
#include <system_error>

#include "xenpv/base/error.hpp"

namespace xenpv::ublk {
namespace {

constexpr std::uint64_t largest = 128U << 10U;

io_desc descriptor(unsigned op, std::uint32_t sectors, std::uint64_t sector = 8,
                   std::uint32_t flags = 0) {
  io_desc out;
  out.op_flags = op | flags;
  out.nr_sectors = sectors;
  out.start_sector = sector;
  return out;
}

TEST(ublk_translation, accepts_exactly_the_operations_that_devices_offer) {
  for (unsigned op = 0; op < 256; ++op) {
    const auto found = translate(descriptor(op, 8), largest);
    EXPECT_EQ(found.refused, op <= 3 ? 0 : -EOPNOTSUPP) << op;
  }
  EXPECT_EQ(translate(descriptor(0, 8), largest).op, blk::operation::read);
  EXPECT_EQ(translate(descriptor(1, 8), largest).op, blk::operation::write);
  EXPECT_EQ(translate(descriptor(2, 0), largest).op, blk::operation::flush);
  EXPECT_EQ(translate(descriptor(3, 8), largest).op, blk::operation::discard);
}

TEST(ublk_translation, converts_sectors_to_bytes) {
  const auto found = translate(descriptor(1, 16, 24), largest);
  EXPECT_EQ(found.offset, 24U * 512);
  EXPECT_EQ(found.length, 16U * 512);
}

TEST(ublk_translation, takes_fua_from_its_bit_and_only_for_writes) {
  for (unsigned bit = 8; bit < 32; ++bit)
    for (unsigned op = 0; op < 4; ++op) {
      const auto found = translate(descriptor(op, 8, 0, 1U << bit), largest);
      EXPECT_EQ(found.refused, 0);
      EXPECT_EQ(found.fua, bit == 13 && op == 1) << "bit " << bit << ", operation " << op;
    }
}

TEST(ublk_translation, checks_lengths_and_positions) {
  const auto most = static_cast<std::uint32_t>(largest / 512);
  for (const unsigned op : {0U, 1U}) {
    EXPECT_EQ(translate(descriptor(op, 0), largest).refused, -EINVAL);
    EXPECT_EQ(translate(descriptor(op, most), largest).refused, 0);
    EXPECT_EQ(translate(descriptor(op, most + 1), largest).refused, -EINVAL);
  }
  EXPECT_EQ(translate(descriptor(3, 0), largest).refused, -EINVAL);
  EXPECT_EQ(translate(descriptor(3, 0xFFFF'FFFF), largest).refused, 0);
  EXPECT_EQ(translate(descriptor(3, 0xFFFF'FFFF), largest).length, 0xFFFF'FFFFULL * 512);
  constexpr auto last = std::numeric_limits<std::uint64_t>::max() / 512;
  EXPECT_EQ(translate(descriptor(0, 1, last), largest).refused, -EINVAL);
  EXPECT_EQ(translate(descriptor(0, 1, last - 1), largest).refused, 0);
  EXPECT_EQ(translate(descriptor(0, 1, ~0ULL), largest).refused, -EINVAL);
}

block_operation operation(blk::operation op, std::uint64_t length) {
  block_operation out;
  out.op = op;
  out.length = length;
  return out;
}

TEST(ublk_translation, reports_the_bytes_of_data_and_nothing_else_on_success) {
  EXPECT_EQ(result_of(operation(blk::operation::read, 4096), {}), 4096);
  EXPECT_EQ(result_of(operation(blk::operation::write, max_io_bytes), {}), 32 << 20);
  EXPECT_EQ(result_of(operation(blk::operation::flush, 0), {}), 0);
  EXPECT_EQ(result_of(operation(blk::operation::discard, 1ULL << 40U), {}), 0);
  block_operation refused;
  refused.refused = -EOPNOTSUPP;
  EXPECT_EQ(result_of(refused, {}), -EOPNOTSUPP);
}

// The kernel would retry a request indefinitely if it fails with EAGAIN or ENOMEM, and interprets
// ENODEV as the end of a tag.
TEST(ublk_translation, reports_only_errors_that_the_kernel_maps_to_a_status) {
  for (int error = 1; error < 134; ++error) {
    const auto found =
        result_of(operation(blk::operation::read, 512), {error, std::generic_category()});
    const bool is_kept = error == EOPNOTSUPP || error == ETIMEDOUT || error == ENOSPC;
    EXPECT_EQ(found, is_kept ? -error : -EIO) << error;
  }
  for (int value = 1; value <= 8; ++value) {
    const auto code = make_error_code(static_cast<errc>(value));
    EXPECT_EQ(result_of(operation(blk::operation::write, 512), code),
              code == errc::timed_out ? -ETIMEDOUT : -EIO);
  }
}

}  // namespace
}  // namespace xenpv::ublk
