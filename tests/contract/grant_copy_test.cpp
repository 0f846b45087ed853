// xengnttab_grant_copy with pages that this domain grants to itself: the hypervisor copies between
// a granted page and local memory without mapping the page. If the driver rejects a request, the
// call fails; if the hypervisor rejects a segment, the segment's status is an error.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <numeric>
#include <vector>

#include "contract/grants.hpp"

namespace xenpv::contract {
namespace {

class grant_copy : public testing::Test {
 protected:
  grant_copy() : local_(3 * page_size) {}

  [[nodiscard]] static xengnttab_grant_copy_segment_t from_grant(std::uint32_t ref,
                                                                 std::uint16_t offset,
                                                                 void* destination,
                                                                 std::uint16_t length) {
    xengnttab_grant_copy_segment_t segment{};
    segment.source.foreign.ref = ref;
    segment.source.foreign.offset = offset;
    segment.source.foreign.domid = static_cast<std::uint16_t>(own_domid());
    segment.dest.virt = destination;
    segment.len = length;
    segment.flags = GNTCOPY_source_gref;
    return segment;
  }
  [[nodiscard]] static xengnttab_grant_copy_segment_t to_grant(void* source, std::uint32_t ref,
                                                               std::uint16_t offset,
                                                               std::uint16_t length) {
    xengnttab_grant_copy_segment_t segment{};
    segment.source.virt = source;
    segment.dest.foreign.ref = ref;
    segment.dest.foreign.offset = offset;
    segment.dest.foreign.domid = static_cast<std::uint16_t>(own_domid());
    segment.len = length;
    segment.flags = GNTCOPY_dest_gref;
    return segment;
  }
  [[nodiscard]] outcome copy(std::span<xengnttab_grant_copy_segment_t> segments) {
    return attempt([&] {
      return xengnttab_grant_copy(mapper_.get(), static_cast<std::uint32_t>(segments.size()),
                                  segments.data());
    });
  }
  [[nodiscard]] outcome copy(xengnttab_grant_copy_segment_t& segment) {
    return copy(std::span(&segment, 1));
  }

  mapper mapper_ = open_mapper();
  sharer sharer_ = open_sharer();
  shared_pages granted_{sharer_, own_domid(), 2};
  std::vector<unsigned char> local_;
};

TEST_F(grant_copy, copies_from_an_offset_of_the_granted_page) {
  std::iota(granted_.bytes().begin(), granted_.bytes().begin() + 256,
            static_cast<unsigned char>(0));
  auto segment = from_grant(granted_.refs()[0], 10, local_.data(), 20);
  ASSERT_EQ(copy(segment), succeeded);
  EXPECT_EQ(segment.status, GNTST_okay);
  for (std::size_t i = 0; i < 20; ++i)
    EXPECT_EQ(local_[i], 10 + i);
  EXPECT_TRUE(all_are(std::span(local_).subspan(20), 0));
}

TEST_F(grant_copy, copies_to_an_offset_of_the_granted_page) {
  std::fill(local_.begin(), local_.end(), 0x5A);
  auto segment = to_grant(local_.data(), granted_.refs()[1], 4000, 96);
  ASSERT_EQ(copy(segment), succeeded);
  EXPECT_EQ(segment.status, GNTST_okay);
  const auto page = granted_.bytes().subspan(page_size);
  EXPECT_TRUE(all_are(page.first(4000), 0));
  EXPECT_TRUE(all_are(page.subspan(4000), 0x5A));
  EXPECT_TRUE(all_are(granted_.bytes().first(page_size), 0)) << "the other page must not change";
}

TEST_F(grant_copy, may_cross_pages_on_the_local_side) {
  std::fill(granted_.bytes().begin(), granted_.bytes().end(), 0x77);
  auto* across =
      local_.data() + page_size - reinterpret_cast<std::uintptr_t>(local_.data()) % page_size - 100;
  if (across < local_.data()) across += page_size;
  auto segment = from_grant(granted_.refs()[0], 0, across, 200);
  ASSERT_EQ(copy(segment), succeeded);
  EXPECT_EQ(segment.status, GNTST_okay);
  EXPECT_TRUE(all_are(std::span(across, 200), 0x77));
}

TEST_F(grant_copy, copies_a_whole_page) {
  std::fill(granted_.bytes().begin(), granted_.bytes().end(), 0x31);
  auto segment = from_grant(granted_.refs()[0], 0, local_.data(), page_size);
  ASSERT_EQ(copy(segment), succeeded);
  EXPECT_EQ(segment.status, GNTST_okay);
  EXPECT_TRUE(all_are(std::span(local_).first(page_size), 0x31));
}

TEST_F(grant_copy, fails_entirely_with_einval_if_a_segment_crosses_the_granted_page) {
  auto segment = from_grant(granted_.refs()[0], 4000, local_.data(), 97);
  EXPECT_EQ(copy(segment), failed(EINVAL));
  auto other = to_grant(local_.data(), granted_.refs()[0], 1, page_size);
  EXPECT_EQ(copy(other), failed(EINVAL));
}

TEST_F(grant_copy, fails_entirely_with_einval_if_neither_side_is_a_grant) {
  auto segment = from_grant(granted_.refs()[0], 0, local_.data(), 16);
  segment.flags = 0;
  segment.source.virt = local_.data() + page_size;
  EXPECT_EQ(copy(segment), failed(EINVAL));
}

TEST_F(grant_copy, reports_an_invalid_ref_in_the_status) {
  auto segment = from_grant(unused_ref, 0, local_.data(), 16);
  ASSERT_EQ(copy(segment), succeeded);
  EXPECT_LT(segment.status, 0);
}

TEST_F(grant_copy, reports_a_missing_domain_in_the_status) {
  auto segment = from_grant(granted_.refs()[0], 0, local_.data(), 16);
  segment.source.foreign.domid = nobody;
  ASSERT_EQ(copy(segment), succeeded);
  EXPECT_LT(segment.status, 0);
}

TEST_F(grant_copy, reports_a_page_granted_to_another_domain_in_the_status) {
  const shared_pages foreign(sharer_, other_domid(), 1);
  auto segment = from_grant(foreign.refs()[0], 0, local_.data(), 16);
  ASSERT_EQ(copy(segment), succeeded);
  EXPECT_LT(segment.status, 0);
}

TEST_F(grant_copy, reports_a_write_to_a_read_only_grant_in_the_status) {
  const shared_pages read_only(sharer_, own_domid(), 1, false);
  std::fill(local_.begin(), local_.end(), 0x11);
  auto segment = to_grant(local_.data(), read_only.refs()[0], 0, 16);
  ASSERT_EQ(copy(segment), succeeded);
  EXPECT_LT(segment.status, 0);
  EXPECT_TRUE(all_are(read_only.bytes(), 0));
}

TEST_F(grant_copy, reads_from_a_read_only_grant) {
  const shared_pages read_only(sharer_, own_domid(), 1, false);
  read_only.bytes()[3] = 42;
  auto segment = from_grant(read_only.refs()[0], 3, local_.data(), 1);
  ASSERT_EQ(copy(segment), succeeded);
  EXPECT_EQ(segment.status, GNTST_okay);
  EXPECT_EQ(local_[0], 42);
}

TEST_F(grant_copy, checks_each_segment_separately) {
  granted_.bytes()[0] = 1;
  granted_.bytes()[page_size] = 2;
  std::array segments{from_grant(granted_.refs()[0], 0, local_.data(), 1),
                      from_grant(unused_ref, 0, local_.data() + 1, 1),
                      from_grant(granted_.refs()[1], 0, local_.data() + 2, 1)};
  ASSERT_EQ(copy(segments), succeeded);
  EXPECT_EQ(segments[0].status, GNTST_okay);
  EXPECT_LT(segments[1].status, 0);
  EXPECT_EQ(segments[2].status, GNTST_okay);
  EXPECT_EQ(local_[0], 1);
  EXPECT_EQ(local_[2], 2);
}

TEST_F(grant_copy, copies_more_segments_than_the_driver_handles_at_once) {
  std::iota(granted_.bytes().begin(), granted_.bytes().begin() + 100,
            static_cast<unsigned char>(1));
  std::vector<xengnttab_grant_copy_segment_t> segments;
  for (std::uint16_t i = 0; i < 100; ++i)
    segments.push_back(from_grant(granted_.refs()[0], i, local_.data() + i, 1));
  ASSERT_EQ(copy(segments), succeeded);
  for (std::size_t i = 0; i < 100; ++i) {
    EXPECT_EQ(segments[i].status, GNTST_okay) << "segment " << i;
    EXPECT_EQ(local_[i], i + 1);
  }
}

TEST_F(grant_copy, succeeds_without_segments) {
  EXPECT_EQ(attempt([&] { return xengnttab_grant_copy(mapper_.get(), 0, nullptr); }), succeeded);
}

}  // namespace
}  // namespace xenpv::contract
