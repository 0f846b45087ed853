// The record of a device that a server left behind, and whether the device is still there.
#include "xenpv-disk/kept_device.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/xen/fake_root.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::disk_app {
namespace {

using ::testing::HasSubstr;
using xen::test::fake_root;
using xen::test::scoped_variable;

class kept_device_record : public ::testing::Test {
 protected:
  fake_root tree;
  scoped_variable root{"XENPV_ROOT", tree.root().path("/").string()};
};

TEST_F(kept_device_record, of_a_ublk_device_is_found_by_its_sequence_number) {
  tree.with("/sys/block/ublkb2/diskseq", "41\n");
  kept_device kept;
  kept.device = {device_driver::ublk, 2};
  kept.identity = "/local/domain/0/backend/vbd/1/51728";
  kept.sequence = 41;
  remember_device("xvdb", kept);
  const auto found = find_kept_device("xvdb");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->device, kept.device);
  EXPECT_EQ(found->identity, kept.identity);
  EXPECT_EQ(found->sequence, 41U);
  EXPECT_EQ(disk_of_kept_device({device_driver::ublk, 2}), "xvdb");
  EXPECT_EQ(disk_of_kept_device({device_driver::nbd, 2}), "");
  // Another device has the number now.
  tree.with("/sys/block/ublkb2/diskseq", "42\n");
  EXPECT_FALSE(find_kept_device("xvdb"));
  EXPECT_EQ(disk_of_kept_device({device_driver::ublk, 2}), "");
}

TEST_F(kept_device_record, of_an_nbd_device_is_found_by_its_owner_and_identifier) {
  tree.with("/sys/block/nbd0/pid", "812\n").with("/sys/block/nbd0/backend", "xenpv-disk xvdb\n");
  kept_device kept;
  kept.connected_by = 812;
  kept.connections = 2;
  kept.timeout = std::chrono::seconds(7);
  remember_device("xvdb", kept);
  const auto found = find_kept_device("xvdb");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->device, (kernel_device{device_driver::nbd, 0}));
  EXPECT_EQ(found->connections, 2U);
  EXPECT_EQ(found->timeout, std::chrono::seconds(7));
  tree.with("/sys/block/nbd0/backend", "xenpv-disk xvdc\n");
  EXPECT_FALSE(find_kept_device("xvdb"));
  forget_device("xvdb");
  tree.with("/sys/block/nbd0/backend", "xenpv-disk xvdb\n");
  EXPECT_FALSE(find_kept_device("xvdb"));
}

TEST_F(kept_device_record, of_an_earlier_version_is_of_an_nbd_device) {
  tree.with("/sys/block/nbd4/pid", "99\n");
  tree.with("/run/xenpv/xvdb.kept",
            R"({"index":4,"connected_by":99,"connections":1,"identity":"x"})");
  const auto found = find_kept_device("xvdb");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->device, (kernel_device{device_driver::nbd, 4}));
  EXPECT_EQ(found->timeout.count(), 0);
}

TEST_F(kept_device_record, that_is_invalid_is_refused_with_its_path) {
  for (const auto* const text :
       {"", "{}", R"({"driver":"loop","index":0,"identity":"x"})",
        R"({"driver":"ublk","index":0,"identity":"x"})", R"({"driver":"nbd","index":"0"})"}) {
    tree.with("/run/xenpv/xvdb.kept", text);
    try {
      (void)find_kept_device("xvdb");
      ADD_FAILURE() << text;
    } catch (const failure& problem) {
      EXPECT_THAT(problem.what(), HasSubstr("/run/xenpv/xvdb.kept"));
      EXPECT_THAT(problem.what(), HasSubstr("detach the device and remove the file"));
    }
  }
}

TEST(device_token, is_recognised_and_differs_for_each_disk) {
  EXPECT_TRUE(is_device_token(device_token(51728)));
  EXPECT_NE(device_token(51728), device_token(51744));
  EXPECT_TRUE(is_device_token(device_token(0xFFFF'FFFF)));
  for (const auto other : {std::uint64_t{0}, std::uint64_t{51728}, ~std::uint64_t{0}})
    EXPECT_FALSE(is_device_token(other));
}

}  // namespace
}  // namespace xenpv::disk_app
