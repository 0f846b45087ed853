#include "sim/grant_tables.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <set>

#include "unit/sim/simulated_tables.hpp"

namespace xenpv::sim {
namespace {

constexpr std::uint32_t limit = 64;

class grant_tables_test : public testing::Test, protected simulated_tables {
 protected:
  grant_tables::share_id share(std::uint32_t pages, bool writable = true) {
    return grants.share(slot_1, domid_0, pages, writable, limit).value();
  }
  boost::system::result<grant_tables::map_id, std::errc> map(std::uint32_t ref, bool writable) {
    const std::array requested = {grant_tables::foreign_grant{domain_1, ref}};
    return grants.map(slot_0, requested, writable);
  }
  char byte_of(std::uint32_t page) {
    char byte = 'x';
    EXPECT_EQ(::pread(grants.memory(slot_1), &byte, 1, off_t{page} * 4096), 1);
    return byte;
  }
  void write_byte(std::uint32_t page, char byte) {
    ASSERT_EQ(::pwrite(grants.memory(slot_1), &byte, 1, off_t{page} * 4096), 1);
  }
};

TEST_F(grant_tables_test, references_are_distinct_unordered_and_above_the_reserved_ones) {
  std::set<std::uint32_t> refs;
  bool ascending = true;
  std::uint32_t before = 0;
  const auto first = share(32);
  for (std::uint32_t i = 0; i < 32; ++i) {
    const auto ref = grants.page(first + i).ref;
    EXPECT_GE(ref, 8U);
    ascending = ascending && ref > before;
    before = ref;
    refs.insert(ref);
  }
  EXPECT_EQ(refs.size(), 32U);
  EXPECT_FALSE(ascending);
}

TEST_F(grant_tables_test, limit_covers_all_shares_of_the_domain) {
  const auto first = share(40);
  EXPECT_EQ(grants.share(slot_1, domid_0, 25, true, limit).error(), std::errc::no_space_on_device);
  EXPECT_EQ(grants.shared_page_count(slot_1), 40U);
  for (std::uint32_t i = 0; i < 40; ++i)
    EXPECT_EQ(grants.unshare(first + i), std::errc{});
  EXPECT_TRUE(grants.share(slot_1, domid_0, limit, true, limit));
}

TEST_F(grant_tables_test, rejects_a_share_of_zero_pages) {
  EXPECT_EQ(grants.share(slot_1, domid_0, 0, true, limit).error(), std::errc::invalid_argument);
}

TEST_F(grant_tables_test, reused_page_is_zeroed) {
  const auto first = share(1);
  const auto page = grants.page(first).page;
  write_byte(page, 'A');
  ASSERT_EQ(grants.unshare(first), std::errc{});
  const auto again = share(1);
  ASSERT_EQ(grants.page(again).page, page) << "the pool is LIFO";
  EXPECT_EQ(byte_of(page), 0);
}

TEST_F(grant_tables_test, map_checks_the_grant_table) {
  const auto ref = grants.page(share(1, false)).ref;
  EXPECT_TRUE(map(ref, false));
  EXPECT_EQ(map(ref, true).error(), std::errc::invalid_argument) << "granted read-only";
  EXPECT_EQ(map(ref + 1, false).error(), std::errc::invalid_argument) << "not granted";
  EXPECT_EQ(map(1U << 20, false).error(), std::errc::invalid_argument) << "beyond the table";
  const std::array own = {grant_tables::foreign_grant{domain_1, ref}};
  EXPECT_EQ(grants.map(slot_1, own, false).error(), std::errc::invalid_argument)
      << "granted to domain 0, not to itself";
  const std::array unknown_domain = {grant_tables::foreign_grant{domid{9}, ref}};
  EXPECT_EQ(grants.map(slot_0, unknown_domain, false).error(), std::errc::invalid_argument);
}

TEST_F(grant_tables_test, mapped_page_survives_unshare_and_is_freed_by_the_last_unmap) {
  const auto id = share(1);
  const auto [page, ref] = grants.page(id);
  const auto one = map(ref, true).value();
  const auto two = map(ref, true).value();
  write_byte(page, 'A');
  ASSERT_EQ(grants.unshare(id), std::errc{});
  EXPECT_EQ(grants.shared_page_count(slot_1), 0U) << "must not count against the limit";
  EXPECT_EQ(byte_of(page), 'A');
  EXPECT_NE(grants.page(share(1)).page, page) << "still in use";
  ASSERT_EQ(grants.unmap(one), std::errc{});
  EXPECT_EQ(byte_of(page), 'A');
  ASSERT_EQ(grants.unmap(two), std::errc{});
  EXPECT_EQ(byte_of(page), 0);
}

TEST_F(grant_tables_test, second_unshare_or_unmap_fails) {
  const auto id = share(1);
  const auto mapped = map(grants.page(id).ref, true).value();
  EXPECT_EQ(grants.unmap(mapped), std::errc{});
  EXPECT_EQ(grants.unmap(mapped), std::errc::invalid_argument);
  EXPECT_EQ(grants.unshare(id), std::errc{});
  EXPECT_EQ(grants.unshare(id), std::errc::invalid_argument);
}

TEST_F(grant_tables_test, share_notice_clears_a_byte_and_sends_an_event) {
  const auto guest = open(slot_1);
  const auto backend = open(slot_0);
  const auto port = events.bind_unbound(guest.id, domid_0).value();
  const auto remote_port = events.bind_interdomain(backend.id, domain_1, port).value();
  (void)read_ports(backend.reader);
  unmask_port(*state, events, backend.id.index, backend.id.generation, remote_port);
  const auto id = share(1);
  const auto [page, ref] = grants.page(id);
  const auto mapped = map(ref, true).value();
  ASSERT_EQ(grants.set_share_notice(id, {0U, port}), std::errc{});
  write_byte(page, 'A');
  ASSERT_EQ(grants.unshare(id), std::errc{});
  EXPECT_EQ(byte_of(page), 0);
  EXPECT_THAT(read_ports(backend.reader), testing::ElementsAre(remote_port));
  (void)mapped;
}

TEST_F(grant_tables_test, rejects_a_notice_with_an_unbound_port) {
  EXPECT_EQ(grants.set_share_notice(share(1), {std::nullopt, 50U}), std::errc::invalid_argument);
}

TEST_F(grant_tables_test, refusal_fault_affects_the_given_ratio) {
  grants.set_refusal({1, 3});
  int refused = 0;
  for (int i = 0; i < 9; ++i)
    if (!grants.share(slot_1, domid_0, 1, true, limit)) ++refused;
  EXPECT_EQ(refused, 3);
}

TEST_F(grant_tables_test, resume_clears_the_table_but_not_the_driver_state) {
  const auto id = share(4);
  const auto ref = grants.page(id).ref;
  grants.resume_domain(slot_1);
  EXPECT_EQ(map(ref, false).error(), std::errc::invalid_argument);
  EXPECT_EQ(grants.shared_page_count(slot_1), 4U);
  for (std::uint32_t i = 0; i < 4; ++i)
    EXPECT_EQ(grants.unshare(id + i), std::errc{});
  EXPECT_EQ(grants.shared_page_count(slot_1), 0U);
}

TEST_F(grant_tables_test, unmap_after_the_death_of_the_granting_domain_affects_no_other_page) {
  const auto mapped = map(grants.page(share(1)).ref, true).value();
  grants.stop_domain(slot_1);
  state->domains[slot_1].generation.store(77);
  grants.start_domain(slot_1);
  const auto other = share(1);
  write_byte(grants.page(other).page, 'B');
  EXPECT_EQ(grants.unmap(mapped), std::errc{});
  EXPECT_EQ(byte_of(grants.page(other).page), 'B');
}

}  // namespace
}  // namespace xenpv::sim
