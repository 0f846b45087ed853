// Granted pages between two domains: mapping and copying.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>

#include "contract/grants.hpp"
#include "contract/peer/client.hpp"

namespace xenpv::contract {
namespace {

class peer_grant : public peer_case {
 protected:
  [[nodiscard]] shared_pages share(std::size_t count = 1, bool writable = true) {
    return {sharer_, dom0, count, writable};
  }
  [[nodiscard]] std::string peer_reads(const std::string& id, std::uint32_t offset,
                                       std::uint32_t length) {
    return from_hex(peer().must("read", id, offset, length).words.at(0));
  }
  static void put(const shared_pages& pages, std::size_t offset, std::string_view text) {
    std::copy(text.begin(), text.end(),
              pages.bytes().begin() + static_cast<std::ptrdiff_t>(offset));
  }
  [[nodiscard]] static std::string get(std::span<const unsigned char> bytes, std::size_t offset,
                                       std::size_t length) {
    const auto part = bytes.subspan(offset, length);
    return {part.begin(), part.end()};
  }

  sharer sharer_ = open_sharer();
};

TEST_F(peer_grant, is_shared_memory_of_both_domains) {
  const auto page = share();
  put(page, 100, "from the guest");
  const auto id = peer().must("map", "rw", page.refs()[0]).words.at(0);
  EXPECT_EQ(peer_reads(id, 100, 14), "from the guest");
  peer().must("write", id, 200U, to_hex("from domain 0"));
  EXPECT_EQ(get(page.bytes(), 200, 13), "from domain 0");
  put(page, 100, "changed later ");
  EXPECT_EQ(peer_reads(id, 100, 14), "changed later ");
}

TEST_F(peer_grant, maps_several_pages_in_the_order_of_the_refs) {
  const auto pages = share(4);
  for (std::size_t i = 0; i < 4; ++i)
    pages.bytes()[i * page_size] = static_cast<unsigned char>('a' + i);
  std::vector<std::string> command{"map", "ro"};
  for (const auto index : {2U, 0U, 3U, 1U})
    command.push_back(std::to_string(pages.refs()[index]));
  const auto id = peer().must_all(command).words.at(0);
  std::string seen;
  for (std::uint32_t i = 0; i < 4; ++i)
    seen += peer_reads(id, i * page_size, 1);
  EXPECT_EQ(seen, "cadb");
}

TEST_F(peer_grant, cannot_be_mapped_writable_if_read_only) {
  const auto page = share(1, false);
  put(page, 0, "look");
  EXPECT_EQ(peer().ask("map", "rw", page.refs()[0]).error, EINVAL);
  const auto id = peer().must("map", "ro", page.refs()[0]).words.at(0);
  EXPECT_EQ(peer_reads(id, 0, 4), "look");
}

TEST_F(peer_grant, cannot_be_mapped_if_granted_to_another_domain) {
  const shared_pages page(sharer_, own_domid(), 1);
  EXPECT_EQ(peer().ask("map", "ro", page.refs()[0]).error, EINVAL);
}

TEST_F(peer_grant, cannot_be_mapped_together_with_an_invalid_ref) {
  const auto page = share();
  EXPECT_EQ(peer().ask("map", "ro", page.refs()[0], unused_ref).error, EINVAL);
}

TEST_F(peer_grant, can_be_mapped_twice) {
  const auto page = share();
  const auto first = peer().must("map", "rw", page.refs()[0]).words.at(0);
  const auto second = peer().must("map", "rw", page.refs()[0]).words.at(0);
  peer().must("write", first, 0U, to_hex("x"));
  EXPECT_EQ(peer_reads(second, 0, 1), "x");
  peer().must("unmap", first);
  EXPECT_EQ(peer_reads(second, 0, 1), "x");
}

TEST_F(peer_grant, can_only_be_unmapped_with_its_full_page_count) {
  const auto pages = share(3);
  const auto id =
      peer().must("map", "ro", pages.refs()[0], pages.refs()[1], pages.refs()[2]).words.at(0);
  EXPECT_EQ(peer().ask("unmap", id, 2U).error, EINVAL);
  EXPECT_EQ(peer().ask("unmap", id, 3U).error, 0);
}

TEST_F(peer_grant, stays_mapped_at_the_peer_after_unshare) {
  auto page = share();
  put(page, 0, "old content");
  const auto id = peer().must("map", "rw", page.refs()[0]).words.at(0);
  ASSERT_EQ(page.unshare(), succeeded);
  EXPECT_EQ(peer_reads(id, 0, 11), "old content");
  // The page must not be reused while the peer can write to it.
  const auto fresh = share(64);
  ASSERT_TRUE(fresh);
  peer().must("write", id, 0U, to_hex("written late"));
  EXPECT_TRUE(all_are(fresh.bytes(), 0));
  EXPECT_EQ(peer_reads(id, 0, 12), "written late");
}

TEST_F(peer_grant, cannot_be_mapped_after_unshare) {
  auto page = share();
  const auto ref = page.refs()[0];
  ASSERT_EQ(page.unshare(), succeeded);
  // On a real host, the guest kernel could reuse the grant reference, but only during I/O.
  EXPECT_EQ(peer().ask("map", "ro", ref).error, EINVAL);
}

TEST_F(peer_grant, keeps_the_data_written_by_a_killed_peer) {
  const auto page = share();
  const auto id = peer().must("map", "rw", page.refs()[0]).words.at(0);
  peer().must("write", id, 10U, to_hex("testament"));
  replace_worker();
  EXPECT_EQ(get(page.bytes(), 10, 9), "testament");
  const auto next = peer().must("map", "rw", page.refs()[0]).words.at(0);
  EXPECT_EQ(peer_reads(next, 10, 9), "testament");
}

TEST_F(peer_grant, lets_a_guest_map_pages_of_domain_0) {
  const auto reply = peer().must("share", "rw", 2U);
  const auto mapper = open_mapper();
  const mapped_pages pages(mapper, dom0, {reply.number(1), reply.number(2)});
  ASSERT_TRUE(pages);
  EXPECT_TRUE(all_are(pages.bytes(), 0));
  pages.bytes()[page_size] = 'g';
  EXPECT_EQ(peer_reads(reply.words[0], page_size, 1), "g");
  peer().must("write", reply.words[0], 1U, to_hex("h"));
  EXPECT_EQ(pages.bytes()[1], 'h');
}

TEST_F(peer_grant, stays_mapped_when_the_handle_closes) {
  const auto reply = peer().must("share", "rw", 1U);
  auto mapper = open_mapper();
  mapped_pages page(mapper, dom0, {reply.number(1)});
  ASSERT_TRUE(page);
  auto* bytes = static_cast<volatile unsigned char*>(page.release());
  mapper.reset();
  peer().must("write", reply.words[0], 0U, to_hex("z"));
  EXPECT_EQ(bytes[0], 'z');
  // No handle refers to this mapping any more. The mapping lasts until the process exits.
}

TEST_F(peer_grant, can_be_copied_from_and_to_an_offset) {
  const auto page = share();
  put(page, 4000, "tail");
  const auto reply = peer().must("copy-from", page.refs()[0], 4000U, 4U);
  EXPECT_EQ(reply.words.at(0), "okay");
  EXPECT_EQ(from_hex(reply.words.at(1)), "tail");
  EXPECT_EQ(peer().must("copy-to", page.refs()[0], 8U, to_hex("head")).words.at(0), "okay");
  EXPECT_EQ(get(page.bytes(), 8, 4), "head");
  EXPECT_TRUE(all_are(page.bytes().first(8), 0));
}

TEST_F(peer_grant, cannot_be_copied_across_its_end) {
  const auto page = share();
  EXPECT_EQ(peer().ask("copy-from", page.refs()[0], 4000U, 97U).error, EINVAL);
  EXPECT_EQ(peer().ask("copy-to", page.refs()[0], 4095U, to_hex("ab")).error, EINVAL);
  EXPECT_EQ(page.bytes()[4095], 0);
}

TEST_F(peer_grant, cannot_be_copied_to_if_read_only) {
  const auto page = share(1, false);
  EXPECT_EQ(peer().must("copy-to", page.refs()[0], 0U, to_hex("no")).words.at(0), "refused");
  EXPECT_TRUE(all_are(page.bytes(), 0));
}

}  // namespace
}  // namespace xenpv::contract
