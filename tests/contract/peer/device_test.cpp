// /dev/xen/gntdev without libxengnttab, with pages of domain 0: mappings, offsets and notices.
#include <gtest/gtest.h>

#include <cerrno>
#include <vector>

#include "contract/device.hpp"
#include "contract/event_handle.hpp"
#include "contract/peer/client.hpp"

namespace xenpv::contract {
namespace {

class peer_gntdev : public peer_case {
 protected:
  static constexpr std::uint32_t pages = 3;

  void SetUp() override {
    peer_case::SetUp();
    if (IsSkipped()) return;
    const auto reply = peer().must("share", "rw", pages);
    share_ = reply.words.at(0);
    std::vector<ioctl_gntdev_grant_ref> refs;
    for (std::uint32_t i = 0; i < pages; ++i)
      refs.push_back({dom0, reply.number(i + 1)});
    offset_ = announce_map(file_, refs);
  }
  [[nodiscard]] std::string peer_reads(std::size_t offset) {
    return peer().must("read", share_, static_cast<std::uint32_t>(offset), 1U).words.at(0);
  }
  [[nodiscard]] outcome remove_map() const {
    ioctl_gntdev_unmap_grant_ref request{offset_, pages, 0};
    return file_.request(IOCTL_GNTDEV_UNMAP_GRANT_REF, request);
  }
  [[nodiscard]] outcome set_notice(std::uint64_t byte, std::uint32_t action,
                                   std::uint32_t port) const {
    ioctl_gntdev_unmap_notify request{offset_ + byte, action, port};
    return file_.request(IOCTL_GNTDEV_SET_UNMAP_NOTIFY, request);
  }

  device file_{"/dev/xen/gntdev"};
  std::string share_;
  std::uint64_t offset_ = 0;
};

TEST_F(peer_gntdev, maps_all_pages_together) {
  EXPECT_EQ(device_pages(file_, offset_, 2).result(), failed(EINVAL));
  const device_pages mapped(file_, offset_, pages);
  ASSERT_EQ(mapped.result(), succeeded);
  mapped[2 * page_size + 1] = 'a';
  EXPECT_EQ(peer_reads(2 * page_size + 1), "61");
  peer().must("write", share_, 5U, "62");
  EXPECT_EQ(mapped[5], 'b');
}

TEST_F(peer_gntdev, finds_the_offset_of_every_mapped_page) {
  const device_pages mapped(file_, offset_, pages);
  ASSERT_EQ(mapped.result(), succeeded);
  for (std::size_t page = 0; page < pages; ++page) {
    ioctl_gntdev_get_offset_for_vaddr request{};
    request.vaddr = reinterpret_cast<std::uintptr_t>(mapped.address()) + page * page_size;
    ASSERT_EQ(file_.request(IOCTL_GNTDEV_GET_OFFSET_FOR_VADDR, request), succeeded);
    EXPECT_EQ(request.offset, offset_) << "the start of the map, not the page";
    EXPECT_EQ(request.count, pages);
  }
}

TEST_F(peer_gntdev, keeps_pages_mapped_until_munmap) {
  device_pages mapped(file_, offset_, pages);
  ASSERT_EQ(mapped.result(), succeeded);
  EXPECT_EQ(remove_map(), succeeded);
  EXPECT_EQ(remove_map(), failed(ENOENT));
  mapped[0] = 'c';
  EXPECT_EQ(peer_reads(0), "63");
}

TEST_F(peer_gntdev, sends_the_notice_when_both_the_mapping_and_the_map_are_gone) {
  loopback pair;
  device_pages mapped(file_, offset_, pages);
  ASSERT_EQ(mapped.result(), succeeded);
  mapped[page_size + 7] = 1;
  ASSERT_EQ(
      set_notice(page_size + 7, UNMAP_NOTIFY_CLEAR_BYTE | UNMAP_NOTIFY_SEND_EVENT, pair.left_port),
      succeeded);
  ASSERT_EQ(remove_map(), succeeded);
  EXPECT_TRUE(pair.right.stays_quiet());
  EXPECT_EQ(peer_reads(page_size + 7), "01");
  mapped.unmap();
  EXPECT_EQ(pair.right.take(), pair.right_port);
  EXPECT_TRUE(comes_true([&] { return peer_reads(page_size + 7) == "00"; }));
}

}  // namespace
}  // namespace xenpv::contract
