#include "base/device_opening.hpp"

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

namespace xenpv {
namespace {

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
}  // namespace xenpv
