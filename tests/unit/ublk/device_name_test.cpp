#include "ublk/device_name.hpp"

#include <gtest/gtest.h>

#include "unit/xen/fake_root.hpp"

namespace xenpv::ublk {
namespace {

using xen::test::fake_root;

TEST(ublk_device_name, has_a_path_and_an_index) {
  EXPECT_EQ(device_path(3), "/dev/ublkb3");
  EXPECT_EQ(device_index("/dev/ublkb3"), 3U);
  EXPECT_EQ(device_index("ublkb0"), 0U);
  for (const auto* const other : {"", "/dev/nbd0", "/dev/ublkc0", "ublkb", "ublkb-1",
                                  "ublkb1048576", "/dev/ublkb0p1", "/dev//ublkb0"})
    EXPECT_EQ(device_index(other), std::nullopt) << other;
}

TEST(ublk_device_name, identifies_a_device_by_its_sequence_number) {
  fake_root tree;
  tree.with("/sys/block/ublkb3/diskseq", "17\n").with("/sys/block/ublkb3/ro", "1\n");
  tree.with("/sys/block/ublkb4/diskseq", "none\n").with("/sys/block/ublkb4/ro", "0\n");
  EXPECT_EQ(device_sequence(3, tree.root()), 17U);
  EXPECT_EQ(device_sequence(4, tree.root()), std::nullopt);
  EXPECT_EQ(device_sequence(5, tree.root()), std::nullopt);
  EXPECT_EQ(device_is_read_only(3, tree.root()), true);
  EXPECT_EQ(device_is_read_only(4, tree.root()), false);
  EXPECT_EQ(device_is_read_only(5, tree.root()), std::nullopt);
}

}  // namespace
}  // namespace xenpv::ublk
