#include "nbd/kernel_device.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <string>

#include "unit/xen/fake_root.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::nbd {
namespace {

TEST(kernel_device, has_a_path_and_an_index) {
  EXPECT_EQ(kernel_device_path(12), "/dev/nbd12");
  EXPECT_EQ(kernel_device_index("/dev/nbd12"), 12u);
  EXPECT_EQ(kernel_device_index("nbd0"), 0u);
  for (const auto* name : {"", "nbd", "/dev/nbd", "/dev/nbd0p1", "nbd-1", "sda", "/dev/nbd1048576",
                           "/dev/xvdb", "dev/nbd0"})
    EXPECT_EQ(kernel_device_index(name), std::nullopt) << name;
}

TEST(kernel_device, is_owned_by_the_process_that_connected_it) {
  xen::test::fake_root tree;
  tree.with("/sys/block/nbd0/size", "0\n");
  tree.with("/sys/block/nbd1/pid", "4711\n");
  EXPECT_EQ(kernel_device_owner(0, tree.root()), std::nullopt);
  EXPECT_EQ(kernel_device_owner(1, tree.root()), 4711);
  EXPECT_EQ(kernel_device_owner(2, tree.root()), std::nullopt);
}

std::string problem_of(const xen::test::fake_root& tree, std::uint32_t index) {
  try {
    require_kernel_device(index, "xenpv-disk xvdb", "disconnect", tree.root());
    return {};
  } catch (const failure& problem) {
    return problem.what();
  }
}

TEST(kernel_device, is_refused_if_another_server_has_its_number) {
  xen::test::fake_root tree;
  tree.with("/sys/block/nbd0/backend", "xenpv-disk xvdb\n");
  tree.with("/sys/block/nbd1/backend", "xenpv-disk xvdc\n");
  tree.with("/sys/block/nbd2/size", "0\n");
  EXPECT_EQ(problem_of(tree, 0), "");
  EXPECT_EQ(problem_of(tree, 1),
            "disconnect: not available here (/dev/nbd1 now belongs to 'xenpv-disk xvdc')");
  EXPECT_EQ(problem_of(tree, 2), "disconnect: not available here (/dev/nbd2 was disconnected)");
}

TEST(kernel_device, gets_requests_as_large_as_its_driver_supports) {
  xen::test::fake_root tree;
  tree.with("/sys/block/nbd0/queue/max_hw_sectors_kb", "32768\n");
  tree.with("/sys/block/nbd0/queue/max_sectors_kb", "128\n");
  tree.with("/sys/block/nbd0/queue/scheduler", "[mq-deadline] none\n");
  prepare_kernel_queue(0, 1024, tree.root());
  EXPECT_EQ(tree.root().read("/sys/block/nbd0/queue/max_sectors_kb"), "1024");
  EXPECT_EQ(tree.root().read("/sys/block/nbd0/queue/scheduler"), "none");
  prepare_kernel_queue(0, 65536, tree.root());
  EXPECT_EQ(tree.root().read("/sys/block/nbd0/queue/max_sectors_kb"), "32768");
  EXPECT_THROW(prepare_kernel_queue(1, 1024, tree.root()), failure);
}

TEST(kernel_device, has_a_size_in_sectors_of_512) {
  xen::test::fake_root tree;
  tree.with("/sys/block/nbd0/size", "2048\n");
  tree.with("/sys/block/nbd1/size", "many\n");
  EXPECT_EQ(kernel_device_size(0, tree.root()), 1u << 20);
  EXPECT_EQ(kernel_device_size(1, tree.root()), std::nullopt);
  EXPECT_EQ(kernel_device_size(2, tree.root()), std::nullopt);
}

}  // namespace
}  // namespace xenpv::nbd
