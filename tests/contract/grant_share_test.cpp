// xengntshr: allocates zero-filled pages and grants them, up to the guest's page limit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <set>

#include "contract/child_process.hpp"
#include "contract/event_handle.hpp"
#include "contract/grants.hpp"
#include "xenpv/base/system_root.hpp"

namespace xenpv::contract {
namespace {

/// GNTTAB_NR_RESERVED_ENTRIES: entries reserved for the toolstack (console, xenstore) and for
/// future use.
constexpr std::uint32_t reserved_refs = 8;

/// Returns the maximum number of pages that all processes of the guest together may share.
[[nodiscard]] std::size_t page_limit() {
  std::size_t limit = 1024;
  const auto text =
      system_root::from_environment().read("/sys/module/xen_gntalloc/parameters/limit");
  if (text) std::from_chars(text->data(), text->data() + text->size(), limit);
  return limit;
}

class grant_share : public testing::Test {
 protected:
  [[nodiscard]] shared_pages share(std::size_t count, bool writable = true) {
    errno = 0;
    return {sharer_, other_domid(), count, writable};
  }
  sharer sharer_ = open_sharer();
};

TEST_F(grant_share, returns_zeroed_pages) {
  const auto pages = share(4);
  ASSERT_TRUE(pages);
  EXPECT_TRUE(all_are(pages.bytes(), 0));
}

TEST_F(grant_share, returns_page_aligned_contiguous_writable_memory) {
  const auto pages = share(16);
  ASSERT_TRUE(pages);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(pages.bytes().data()) % page_size, 0U);
  for (std::size_t i = 0; i < pages.bytes().size(); ++i)
    pages.bytes()[i] = static_cast<unsigned char>(i % 251);
  for (std::size_t i = 0; i < pages.bytes().size(); ++i)
    ASSERT_EQ(pages.bytes()[i], i % 251) << "at byte " << i;
}

TEST_F(grant_share, returns_distinct_refs_above_the_reserved_ones) {
  const auto pages = share(64);
  ASSERT_TRUE(pages);
  EXPECT_EQ(std::set<std::uint32_t>(pages.refs().begin(), pages.refs().end()).size(), 64U);
  EXPECT_THAT(pages.refs(), testing::Each(testing::Ge(reserved_refs)));
}

TEST_F(grant_share, returns_refs_that_no_other_share_uses) {
  const auto first = share(8);
  const auto second_handle = open_sharer();
  const shared_pages second(second_handle, other_domid(), 8);
  ASSERT_TRUE(first && second);
  for (const auto ref : second.refs())
    EXPECT_THAT(first.refs(), testing::Not(testing::Contains(ref)));
}

TEST_F(grant_share, is_writable_locally_if_read_only_for_the_peer) {
  const auto pages = share(1, false);
  ASSERT_TRUE(pages);
  pages.bytes()[0] = 7;
  EXPECT_EQ(pages.bytes()[0], 7);
}

TEST_F(grant_share, accepts_the_size_of_a_whole_ring) {
  const auto pages = share(353);
  ASSERT_TRUE(pages);
  EXPECT_TRUE(all_are(pages.bytes(), 0));
}

TEST_F(grant_share, accepts_the_own_domain) {
  const shared_pages pages(sharer_, own_domid(), 1);
  EXPECT_TRUE(pages);
}

TEST_F(grant_share, accepts_a_missing_domain) {
  const shared_pages pages(sharer_, nobody, 1);
  EXPECT_TRUE(pages) << "a grant is only an entry in this domain's grant table";
}

TEST_F(grant_share, ends_on_unshare) {
  auto pages = share(3);
  ASSERT_TRUE(pages);
  EXPECT_EQ(pages.unshare(), succeeded);
}

TEST_F(grant_share, ends_on_unshare_through_any_handle) {
  auto pages = share(2);
  ASSERT_TRUE(pages);
  const auto other = open_sharer();
  EXPECT_EQ(pages.unshare_through(other.get()), succeeded);
}

TEST_F(grant_share, returns_zeroed_pages_after_dirty_pages_were_unshared) {
  for (int round = 0; round < 5; ++round) {
    auto pages = share(32);
    ASSERT_TRUE(pages);
    ASSERT_TRUE(all_are(pages.bytes(), 0)) << "round " << round;
    std::fill(pages.bytes().begin(), pages.bytes().end(), 0xA5);
    ASSERT_EQ(pages.unshare(), succeeded);
  }
}

TEST_F(grant_share, outlives_its_handle) {
  auto pages = share(2);
  ASSERT_TRUE(pages);
  pages.bytes()[5] = 9;
  sharer_.reset();
  EXPECT_EQ(pages.bytes()[5], 9);
  pages.bytes()[page_size] = 1;
  const auto other = open_sharer();
  EXPECT_EQ(pages.unshare_through(other.get()), succeeded);
}

TEST_F(grant_share, fails_for_zero_pages) {
  std::uint32_t ref = 0;
  EXPECT_EQ(xengntshr_share_pages(sharer_.get(), other_domid(), 0, &ref, 1), nullptr);
}

TEST_F(grant_share, fails_with_enospc_beyond_the_limit) {
  const auto pages = share(page_limit() + 1);
  EXPECT_FALSE(pages);
  EXPECT_EQ(errno, ENOSPC);
}

TEST_F(grant_share, counts_all_pages_against_the_limit) {
  const auto limit = page_limit();
  const std::size_t chunk = std::max<std::size_t>(limit / 8, 1);
  std::vector<shared_pages> held;
  const auto second_handle = open_sharer();
  int error = 0;
  while (held.size() <= 8) {
    errno = 0;
    shared_pages pages(held.size() % 2 == 0 ? sharer_ : second_handle, other_domid(), chunk);
    if (!pages) {
      error = errno;
      break;
    }
    held.push_back(std::move(pages));
  }
  EXPECT_EQ(error, ENOSPC);
  EXPECT_LE(held.size() * chunk, limit);
  EXPECT_FALSE(held.empty());
}

TEST_F(grant_share, releases_pages_from_the_limit_on_unshare) {
  const auto limit = page_limit();
  const std::size_t half = limit / 2 + 1;
  auto first = share(half);
  ASSERT_TRUE(first) << "other processes of this guest share too many pages";
  ASSERT_FALSE(share(half)) << "could share more pages than the limit";
  ASSERT_EQ(first.unshare(), succeeded);
  const auto second = share(half);
  EXPECT_TRUE(second);
}

TEST_F(grant_share, has_no_effect_on_failure) {
  const auto limit = page_limit();
  for (int i = 0; i < 3; ++i)
    ASSERT_FALSE(share(limit + 1));
  EXPECT_TRUE(share(limit / 2));
}

TEST_F(grant_share, releases_pages_of_a_dead_process_from_the_limit) {
  const std::size_t most = page_limit() / 2 + 1;
  child_process child([most] {
    static const auto handle = open_sharer();
    static const shared_pages pages(handle, other_domid(), most);
    return pages ? 1U : 0U;
  });
  ASSERT_EQ(child.report(), 1U);
  ASSERT_FALSE(share(most));
  child.kill();
  EXPECT_TRUE(comes_true([&] { return static_cast<bool>(share(most)); }));
}

TEST_F(grant_share, accepts_a_page_without_a_notice) {
  auto page = shared_pages::with_notice(sharer_, other_domid(), no_offset, no_port);
  ASSERT_TRUE(page);
  EXPECT_GE(page.refs()[0], reserved_refs);
  EXPECT_TRUE(all_are(page.bytes(), 0));
  EXPECT_EQ(page.unshare(), succeeded);
}

TEST_F(grant_share, sends_the_notice_event_on_unshare) {
  loopback pair;
  auto page = shared_pages::with_notice(sharer_, other_domid(), no_offset, pair.left_port);
  ASSERT_TRUE(page);
  EXPECT_TRUE(pair.right.stays_quiet());
  ASSERT_EQ(page.unshare(), succeeded);
  EXPECT_EQ(pair.right.take(), pair.right_port);
}

TEST_F(grant_share, keeps_the_notice_port_open_after_its_handle_is_closed) {
  // gntalloc holds a reference to the port. So when a process dies, the notice is sent regardless
  // of the order in which the process's descriptors are closed.
  loopback pair;
  auto page = shared_pages::with_notice(sharer_, other_domid(), no_offset, pair.left_port);
  ASSERT_TRUE(page);
  pair.left.unbind(pair.left_port);
  EXPECT_FALSE(waits_to_be_bound(pair.right_port));
  ASSERT_EQ(page.unshare(), succeeded);
  EXPECT_EQ(pair.right.take(), pair.right_port);
  EXPECT_TRUE(waits_to_be_bound(pair.right_port));
}

TEST_F(grant_share, sends_the_notice_event_when_the_process_dies) {
  event_handle handle;
  const auto port = handle.bind_unbound();
  child_process child([port] {
    static event_handle events;
    static const auto bound = events.bind_interdomain(self, port);
    static const auto shares = open_sharer();
    static const auto page = shared_pages::with_notice(shares, other_domid(), no_offset, bound);
    return page ? 1U : 0U;
  });
  ASSERT_EQ(child.report(), 1U);
  ASSERT_TRUE(handle.stays_quiet());
  child.kill();
  EXPECT_EQ(handle.take(), port);
}

TEST_F(grant_share, fails_with_einval_for_a_notice_to_an_unbound_port) {
  event_handle handle;
  const auto port = handle.bind_unbound();
  handle.unbind(port);
  errno = 0;
  const auto page = shared_pages::with_notice(sharer_, other_domid(), no_offset, port);
  EXPECT_FALSE(page);
  EXPECT_EQ(errno, EINVAL);
}

}  // namespace
}  // namespace xenpv::contract
