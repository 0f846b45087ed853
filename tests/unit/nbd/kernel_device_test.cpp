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

using purpose = device_opening::purpose;

TEST(device_opening, returns_the_result_of_the_opening) {
  xen::test::fake_root tree;
  tree.with("/dev/nbd0", "data");
  const auto there = tree.root().path("/dev/nbd0").string();
  for (const auto use : {purpose::scan, purpose::write_back, purpose::claim}) {
    device_opening opening(there, use);
    EXPECT_EQ(opening.outcome(), 0);
  }
  device_opening missing(tree.root().path("/dev/nbd1").string(), purpose::scan);
  pollfd ready{missing.readable(), POLLIN, 0};
  EXPECT_EQ(::poll(&ready, 1, 10000), 1);
  EXPECT_EQ(missing.outcome(), ENOENT);
}

TEST(device_opening, does_not_hang_when_its_child_hangs) {
  xen::test::fake_root tree;
  tree.with("/dev/x");
  const auto path = tree.root().path("/dev/nbd0").string();
  // Opening the FIFO blocks until a writer opens it.
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  {
    device_opening opening(path, purpose::scan);
    pollfd ready{opening.readable(), POLLIN, 0};
    EXPECT_EQ(::poll(&ready, 1, 50), 0);
  }
  // Unblocks the child.
  const int writer = ::open(path.c_str(), O_WRONLY);
  EXPECT_GE(writer, 0);
  ::close(writer);
}

TEST(device_opening, inherits_no_descriptors_of_its_parent) {
  xen::test::fake_root tree;
  tree.with("/dev/x");
  const auto path = tree.root().path("/dev/nbd0").string();
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  {
    device_opening opening(path, purpose::scan);
    ::close(ends[1]);
    // End-of-file shows that the hanging child does not have the write end open.
    pollfd ended{ends[0], POLLIN, 0};
    EXPECT_EQ(::poll(&ended, 1, 10000), 1);
    EXPECT_EQ(ended.revents, POLLHUP);
  }
  const int writer = ::open(path.c_str(), O_WRONLY);
  ::close(writer);
  ::close(ends[0]);
}

}  // namespace
}  // namespace xenpv::nbd
