// /dev/xen/gntdev without libxengnttab: tests that need only one domain. peer/device_test.cpp maps
// pages of domain 0.
#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <vector>

#include "contract/device.hpp"
#include "contract/event_handle.hpp"
#include "contract/grants.hpp"

namespace xenpv::contract {
namespace {

class device_gntdev : public testing::Test {
 protected:
  /// Requests a mapping of nonexistent grants. Only mmap(2) detects that they do not exist.
  [[nodiscard]] std::uint64_t add_map(std::uint32_t count = 1) const {
    std::vector<ioctl_gntdev_grant_ref> refs;
    for (std::uint32_t i = 0; i < count; ++i)
      refs.push_back({other_domid(), unused_ref + i});
    return announce_map(file_, refs);
  }
  [[nodiscard]] outcome remove_map(std::uint64_t offset, std::uint32_t count = 1) const {
    ioctl_gntdev_unmap_grant_ref request{offset, count, 0};
    return file_.request(IOCTL_GNTDEV_UNMAP_GRANT_REF, request);
  }
  [[nodiscard]] outcome set_notice(std::uint64_t offset, std::uint32_t action,
                                   std::uint32_t port = 0) const {
    ioctl_gntdev_unmap_notify request{offset, action, port};
    return file_.request(IOCTL_GNTDEV_SET_UNMAP_NOTIFY, request);
  }
  [[nodiscard]] outcome copy(ioctl_gntdev_grant_copy_segment& segment) const {
    ioctl_gntdev_grant_copy request{1, &segment};
    return file_.request(IOCTL_GNTDEV_GRANT_COPY, request);
  }

  device file_{"/dev/xen/gntdev"};
};

TEST_F(device_gntdev, assigns_consecutive_offsets) {
  EXPECT_EQ(add_map(3), 0U);
  EXPECT_EQ(add_map(1), 3 * page_size);
  EXPECT_EQ(add_map(2), 4 * page_size);
}

// The driver compares with "less than", so a gap of exactly the size is not used.
TEST_F(device_gntdev, reuses_an_offset_only_in_a_gap_that_is_larger_than_the_map) {
  ASSERT_EQ(add_map(2), 0U);
  ASSERT_EQ(add_map(1), 2 * page_size);
  ASSERT_EQ(remove_map(0, 2), succeeded);
  EXPECT_EQ(add_map(2), 3 * page_size);
  EXPECT_EQ(add_map(1), 0U);
}

TEST_F(device_gntdev, removes_a_map_once_and_only_as_a_whole) {
  const auto offset = add_map(2);
  EXPECT_EQ(remove_map(offset, 1), failed(ENOENT));
  EXPECT_EQ(remove_map(offset + page_size, 1), failed(ENOENT));
  EXPECT_EQ(remove_map(offset, 2), succeeded);
  EXPECT_EQ(remove_map(offset, 2), failed(ENOENT));
}

TEST_F(device_gntdev, fails_with_einval_to_map_a_wrong_offset_or_size) {
  const auto offset = add_map(2);
  EXPECT_EQ(device_pages(file_, offset, 1, PROT_READ).result(), failed(EINVAL));
  EXPECT_EQ(device_pages(file_, offset, 3, PROT_READ).result(), failed(EINVAL));
  EXPECT_EQ(device_pages(file_, offset + page_size, 1, PROT_READ).result(), failed(EINVAL));
  EXPECT_EQ(device_pages(file_, 100 * page_size, 1, PROT_READ).result(), failed(EINVAL));
}

TEST_F(device_gntdev, fails_with_einval_to_map_privately_for_writing) {
  const auto offset = add_map();
  EXPECT_EQ(device_pages(file_, offset, 1, PROT_READ | PROT_WRITE, MAP_PRIVATE).result(),
            failed(EINVAL));
}

TEST_F(device_gntdev, fails_with_einval_to_map_a_grant_that_does_not_exist) {
  const auto offset = add_map();
  EXPECT_EQ(device_pages(file_, offset, 1, PROT_READ).result(), failed(EINVAL));
  EXPECT_EQ(remove_map(offset), succeeded);
}

TEST_F(device_gntdev, has_no_offset_for_ordinary_memory) {
  std::uint64_t here = 0;
  ioctl_gntdev_get_offset_for_vaddr request{};
  request.vaddr = reinterpret_cast<std::uintptr_t>(&here);
  EXPECT_EQ(file_.request(IOCTL_GNTDEV_GET_OFFSET_FOR_VADDR, request), failed(EINVAL));
}

TEST_F(device_gntdev, checks_a_notice_before_the_mapping_exists) {
  event_handle events;
  const auto free_port = events.bind_unbound();
  events.unbind(free_port);
  const auto offset = add_map();
  EXPECT_EQ(set_notice(offset + page_size, UNMAP_NOTIFY_CLEAR_BYTE), failed(ENOENT));
  EXPECT_EQ(set_notice(offset, 4), failed(EINVAL)) << "an unknown action";
  EXPECT_EQ(set_notice(offset, UNMAP_NOTIFY_SEND_EVENT, free_port), failed(EINVAL));
  EXPECT_EQ(set_notice(offset, UNMAP_NOTIFY_CLEAR_BYTE), succeeded);
}

TEST_F(device_gntdev, sends_the_notice_of_a_map_that_was_never_mapped) {
  loopback pair;
  const auto offset = add_map();
  ASSERT_EQ(set_notice(offset, UNMAP_NOTIFY_SEND_EVENT, pair.left_port), succeeded);
  EXPECT_TRUE(pair.right.stays_quiet());
  ASSERT_EQ(remove_map(offset), succeeded);
  EXPECT_EQ(pair.right.take(), pair.right_port);
}

TEST_F(device_gntdev, copies_between_a_grant_and_local_memory) {
  const auto sharer = open_sharer();
  const shared_pages granted(sharer, own_domid(), 1);
  ASSERT_TRUE(granted);
  granted.bytes()[100] = 42;
  std::array<unsigned char, 16> local{};
  ioctl_gntdev_grant_copy_segment segment{};
  segment.source.foreign = {granted.refs()[0], 100, static_cast<std::uint16_t>(own_domid())};
  segment.dest.virt = local.data();
  segment.len = 1;
  segment.flags = GNTCOPY_source_gref;
  segment.status = 1;
  ASSERT_EQ(copy(segment), succeeded);
  EXPECT_EQ(segment.status, GNTST_okay);
  EXPECT_EQ(local[0], 42);
}

TEST_F(device_gntdev, reports_a_failed_copy_in_the_status) {
  std::array<unsigned char, 16> local{};
  ioctl_gntdev_grant_copy_segment segment{};
  segment.source.foreign = {unused_ref, 0, nobody};
  segment.dest.virt = local.data();
  segment.len = 16;
  segment.flags = GNTCOPY_source_gref;
  EXPECT_EQ(copy(segment), succeeded);
  EXPECT_LT(segment.status, 0);
  segment.source.foreign.offset = page_size - 1;
  EXPECT_EQ(copy(segment), failed(EINVAL)) << "crosses the end of the page";
}

TEST_F(device_gntdev, checks_the_request) {
  ioctl_gntdev_map_grant_ref no_pages{};
  EXPECT_EQ(file_.request(IOCTL_GNTDEV_MAP_GRANT_REF, no_pages), failed(EINVAL));
  EXPECT_EQ(file_.request(IOCTL_GNTDEV_MAP_GRANT_REF, nullptr), failed(EFAULT));
  EXPECT_EQ(file_.request(IOCTL_GNTDEV_UNMAP_GRANT_REF, nullptr), failed(EFAULT));
  EXPECT_EQ(file_.request(unknown_request('G'), nullptr), failed(ENOTTY));
}

// libxengnttab ignores this error.
TEST_F(device_gntdev, does_not_know_a_maximum_number_of_grants) {
  ioctl_gntdev_set_max_grants request{16};
  EXPECT_EQ(file_.request(IOCTL_GNTDEV_SET_MAX_GRANTS, request), failed(ENOTTY));
}

}  // namespace
}  // namespace xenpv::contract
