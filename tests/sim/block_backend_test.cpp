// The block backend over xenstore, event channels and grants, as seen by a guest: a raw frontend in
// domain 1, with one disk per kind of backend. Tests without I/O are in tests/unit/blkback.
#include <gtest/gtest.h>

#include <cstring>

#include "sim/raw_frontend.hpp"

namespace xenpv::sim {
namespace {

using enum wire::xenbus_state;
using wire::blkif_op;

struct served_disk {
  const char* kind;
  unsigned device;                  ///< virtual device number; CMakeLists.txt defines the disks
  std::vector<std::string> before;  ///< nodes before the connect
  std::vector<std::string> after;   ///< nodes after the connect
};

const std::vector<std::string> all_nodes = {"hotplug-status",
                                            "feature-max-indirect-segments",
                                            "multi-queue-max-queues",
                                            "max-ring-page-order",
                                            "feature-barrier",
                                            "feature-flush-cache",
                                            "feature-discard",
                                            "discard-granularity",
                                            "discard-alignment",
                                            "discard-secure",
                                            "feature-persistent",
                                            "sectors",
                                            "info",
                                            "sector-size",
                                            "physical-sector-size"};

const std::vector<served_disk> disks = {
    {"linux",
     51728,
     {"hotplug-status=connected", "feature-max-indirect-segments=256", "multi-queue-max-queues=2",
      "max-ring-page-order=4"},
     {"hotplug-status=connected", "feature-max-indirect-segments=256", "multi-queue-max-queues=2",
      "max-ring-page-order=4", "feature-barrier=1", "feature-flush-cache=1", "feature-discard=1",
      "discard-granularity=4096", "discard-alignment=0", "discard-secure=1", "feature-persistent=1",
      "sectors=16384", "info=0", "sector-size=512", "physical-sector-size=512"}},
    {"qemu",
     51744,
     {"hotplug-status=connected", "max-ring-page-order=4", "feature-flush-cache=1",
      "feature-discard=1", "discard-granularity=4096", "discard-alignment=0", "sectors=16384",
      "info=0", "sector-size=512"},
     {"hotplug-status=connected", "max-ring-page-order=4", "feature-flush-cache=1",
      "feature-discard=1", "discard-granularity=4096", "discard-alignment=0", "sectors=16384",
      "info=0", "sector-size=512"}},
    {"tapdisk",
     51760,
     {"hotplug-status=connected", "max-ring-page-order=3"},
     {"hotplug-status=connected", "max-ring-page-order=3", "feature-barrier=1", "sectors=16384",
      "info=0", "sector-size=512"}},
    {"freebsd",
     51776,
     {"hotplug-status=connected", "max-ring-page-order=4", "feature-barrier=1",
      "feature-flush-cache=1"},
     {"hotplug-status=connected", "max-ring-page-order=4", "feature-barrier=1",
      "feature-flush-cache=1", "sectors=16384", "info=0", "sector-size=512"}}};

class each_backend : public ::testing::TestWithParam<served_disk> {};
INSTANTIATE_TEST_SUITE_P(, each_backend, ::testing::ValuesIn(disks),
                         [](const auto& instance) { return std::string(instance.param.kind); });

TEST_P(each_backend, publishes_its_nodes_and_transfers_data) {
  raw_frontend front(GetParam().device);
  front.await({init_wait});
  EXPECT_EQ(front.backend_nodes(all_nodes), GetParam().before);
  front.connect();
  EXPECT_EQ(front.backend_nodes(all_nodes), GetParam().after);

  std::memset(front.page(0), 0x5A, page_size);
  EXPECT_EQ(front.transfer(blkif_op::write, 800, 0), 0);
  EXPECT_EQ(front.transfer(blkif_op::read, 800, 1), 0);
  EXPECT_EQ(std::memcmp(front.page(0), front.page(1), page_size), 0);
  EXPECT_EQ(front.transfer(blkif_op::read, 16384, 1), -1);
  const bool tapdisk = GetParam().kind == std::string("tapdisk");
  EXPECT_EQ(front.flush(), tapdisk ? -2 : 0);
  front.close();
}

TEST(linux_backend, serves_two_queues_of_four_pages_with_persistent_grants) {
  raw_frontend front(51792);
  front.connect(2, 2, true);
  for (std::size_t i = 0; i < 64; ++i) {
    std::memset(front.page(i), static_cast<int>(i + 1), page_size);
    ASSERT_EQ(front.transfer(blkif_op::write, i * 8, i, i % 2), 0);
  }
  for (std::size_t i = 0; i < 64; ++i) {
    ASSERT_EQ(front.transfer(blkif_op::read, (63 - i) * 8, i, i % 2), 0);
    ASSERT_EQ(std::to_integer<std::size_t>(front.page(i)[100]), 64 - i);
  }
  front.close();
}

TEST(linux_backend, accepts_a_reconnect_and_keeps_the_data) {
  raw_frontend front(51792);
  front.set_state(initialising);
  front.connect();
  std::memset(front.page(0), 0x77, page_size);
  ASSERT_EQ(front.transfer(blkif_op::write, 4096, 0), 0);
  front.close();
  front.set_state(initialising);
  front.connect(1, 4);
  ASSERT_EQ(front.transfer(blkif_op::read, 4096, 1), 0);
  EXPECT_EQ(std::memcmp(front.page(0), front.page(1), page_size), 0);
  front.close();
}

TEST(linux_backend, goes_to_closing_without_a_protocol_node) {
  raw_frontend front(51792);
  front.set_state(initialising);
  front.await({init_wait});
  front.set_state(initialised);
  EXPECT_EQ(front.await({closing, connected}), closing);
  front.close();
}

TEST(qemu_backend, serves_large_sectors_only_on_request_and_uses_them_as_the_unit) {
  raw_frontend front(51808);
  EXPECT_EQ(front.backend_nodes({"sectors", "sector-size"}),
            (std::vector<std::string>{"sectors=2048", "sector-size=4096"}));
  EXPECT_THROW(front.connect(), std::runtime_error);
  front.close();
  front.set_state(initialising);
  front.write("feature-large-sector-size", "1");
  front.connect();
  EXPECT_EQ(front.transfer(blkif_op::read, 2047, 0, 0, 0), 0);
  EXPECT_EQ(front.transfer(blkif_op::read, 2048, 0, 0, 0), -1);
  EXPECT_EQ(front.transfer(blkif_op::read, 0, 0, 0, 1), -1);
  front.close();
}

}  // namespace
}  // namespace xenpv::sim
