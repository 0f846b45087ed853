// /dev/xen/gntalloc without libxengnttab: offsets, mappings of parts of an allocation, and notices.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <new>
#include <vector>

#include "contract/device.hpp"
#include "contract/event_handle.hpp"

namespace xenpv::contract {
namespace {

/// More pages than a guest may share by default.
constexpr std::uint32_t too_many_pages = 10'000;

class device_gntalloc : public testing::Test {
 protected:
  struct allocation {
    std::uint64_t offset;
    std::vector<std::uint32_t> refs;
  };

  [[nodiscard]] allocation allocate(std::uint32_t count) const {
    // The struct's last member is an array of `count` references.
    std::vector<std::byte> storage(sizeof(ioctl_gntalloc_alloc_gref) +
                                   count * sizeof(std::uint32_t));
    auto& request = *new (storage.data()) ioctl_gntalloc_alloc_gref{};
    request.domid = static_cast<std::uint16_t>(other_domid());
    request.flags = GNTALLOC_FLAG_WRITABLE;
    request.count = count;
    file_.must(IOCTL_GNTALLOC_ALLOC_GREF, request);
    allocation made{request.index, std::vector<std::uint32_t>(count)};
    std::memcpy(made.refs.data(), storage.data() + offsetof(ioctl_gntalloc_alloc_gref, gref_ids),
                count * sizeof(std::uint32_t));
    return made;
  }
  [[nodiscard]] outcome deallocate(std::uint64_t offset, std::uint32_t count) const {
    ioctl_gntalloc_dealloc_gref request{offset, count};
    return file_.request(IOCTL_GNTALLOC_DEALLOC_GREF, request);
  }
  [[nodiscard]] outcome set_notice(std::uint64_t offset, std::uint32_t action,
                                   std::uint32_t port = 0) const {
    ioctl_gntalloc_unmap_notify request{offset, action, port};
    return file_.request(IOCTL_GNTALLOC_SET_UNMAP_NOTIFY, request);
  }

  device file_{"/dev/xen/gntalloc"};
};

TEST_F(device_gntalloc, assigns_consecutive_offsets_and_distinct_references) {
  const auto first = allocate(3);
  const auto second = allocate(1);
  EXPECT_EQ(first.offset, 0U);
  EXPECT_EQ(second.offset, 3 * page_size);
  EXPECT_THAT(first.refs, testing::Each(testing::Gt(0U)));
  EXPECT_NE(first.refs[0], first.refs[1]);
  EXPECT_NE(first.refs[1], first.refs[2]);
  EXPECT_THAT(first.refs, testing::Not(testing::Contains(second.refs[0])));
}

TEST_F(device_gntalloc, maps_a_part_of_an_allocation) {
  const auto pages = allocate(3);
  const device_pages middle(file_, pages.offset + page_size, 1);
  ASSERT_EQ(middle.result(), succeeded);
  middle[5] = 7;
  const device_pages all(file_, pages.offset, 3);
  ASSERT_EQ(all.result(), succeeded);
  EXPECT_EQ(all[page_size + 5], 7);
  EXPECT_EQ(all[5], 0);
}

TEST_F(device_gntalloc, cannot_be_mapped_beyond_its_pages_or_privately) {
  const auto pages = allocate(2);
  EXPECT_EQ(device_pages(file_, pages.offset, 3).result(), failed(ENOENT));
  EXPECT_EQ(device_pages(file_, pages.offset + 2 * page_size, 1).result(), failed(ENOENT));
  EXPECT_EQ(device_pages(file_, pages.offset, 1, PROT_READ | PROT_WRITE, MAP_PRIVATE).result(),
            failed(EINVAL));
}

TEST_F(device_gntalloc, deallocates_a_part_of_an_allocation) {
  const auto pages = allocate(3);
  ASSERT_EQ(deallocate(pages.offset + page_size, 1), succeeded);
  EXPECT_EQ(device_pages(file_, pages.offset, 3).result(), failed(ENOENT));
  EXPECT_EQ(device_pages(file_, pages.offset, 1).result(), succeeded);
  EXPECT_EQ(device_pages(file_, pages.offset + 2 * page_size, 1).result(), succeeded);
}

TEST_F(device_gntalloc, fails_with_einval_to_deallocate_pages_that_it_lacks) {
  const auto pages = allocate(2);
  EXPECT_EQ(deallocate(pages.offset, 3), failed(EINVAL));
  EXPECT_EQ(deallocate(pages.offset + 5 * page_size, 1), failed(EINVAL));
  ASSERT_EQ(deallocate(pages.offset, 2), succeeded);
  EXPECT_EQ(deallocate(pages.offset, 2), failed(EINVAL));
}

TEST_F(device_gntalloc, keeps_a_deallocated_page_while_it_is_mapped) {
  loopback pair;
  const auto page = allocate(1);
  device_pages mapped(file_, page.offset, 1);
  ASSERT_EQ(mapped.result(), succeeded);
  mapped[9] = 3;
  ASSERT_EQ(set_notice(page.offset, UNMAP_NOTIFY_SEND_EVENT, pair.left_port), succeeded);
  ASSERT_EQ(deallocate(page.offset, 1), succeeded);
  EXPECT_EQ(mapped[9], 3);
  EXPECT_TRUE(pair.right.stays_quiet());
  mapped.unmap();
  EXPECT_EQ(pair.right.take(), pair.right_port) << "the notice of the last munmap";
}

TEST_F(device_gntalloc, sends_the_notice_when_an_unmapped_page_is_deallocated) {
  loopback pair;
  const auto page = allocate(1);
  ASSERT_EQ(set_notice(page.offset, UNMAP_NOTIFY_SEND_EVENT, pair.left_port), succeeded);
  EXPECT_TRUE(pair.right.stays_quiet());
  ASSERT_EQ(deallocate(page.offset, 1), succeeded);
  EXPECT_EQ(pair.right.take(), pair.right_port);
}

TEST_F(device_gntalloc, sends_no_notice_that_was_cleared) {
  loopback pair;
  const auto page = allocate(1);
  ASSERT_EQ(set_notice(page.offset, UNMAP_NOTIFY_SEND_EVENT, pair.left_port), succeeded);
  ASSERT_EQ(set_notice(page.offset, 0), succeeded);
  ASSERT_EQ(deallocate(page.offset, 1), succeeded);
  EXPECT_TRUE(pair.right.stays_quiet());
}

TEST_F(device_gntalloc, checks_a_notice) {
  event_handle events;
  const auto free_port = events.bind_unbound();
  events.unbind(free_port);
  const auto page = allocate(1);
  EXPECT_EQ(set_notice(page.offset + page_size, UNMAP_NOTIFY_CLEAR_BYTE), failed(ENOENT));
  EXPECT_EQ(set_notice(page.offset, 4), failed(EINVAL)) << "an unknown action";
  EXPECT_EQ(set_notice(page.offset, UNMAP_NOTIFY_SEND_EVENT, free_port), failed(EINVAL));
}

TEST_F(device_gntalloc, has_no_effect_if_an_allocation_exceeds_the_limit) {
  std::vector<std::byte> storage(sizeof(ioctl_gntalloc_alloc_gref) +
                                 too_many_pages * sizeof(std::uint32_t));
  auto& request = *new (storage.data()) ioctl_gntalloc_alloc_gref{};
  request.count = too_many_pages;
  EXPECT_EQ(file_.request(IOCTL_GNTALLOC_ALLOC_GREF, request), failed(ENOSPC));
  EXPECT_EQ(allocate(1).offset, 0U);
}

TEST_F(device_gntalloc, checks_the_request) {
  EXPECT_EQ(file_.request(unknown_request('G'), nullptr), failed(ENOTTY));
  EXPECT_EQ(file_.request(IOCTL_GNTALLOC_ALLOC_GREF, nullptr), failed(EFAULT));
  EXPECT_EQ(file_.request(IOCTL_GNTALLOC_DEALLOC_GREF, nullptr), failed(EFAULT));
}

}  // namespace
}  // namespace xenpv::contract
