#include "xenpv/ring/shared_ring.hpp"

#include <gtest/gtest.h>

#include "unit/ring/xens_ring.hpp"

namespace xenpv::ring {
namespace {

TEST(ring_size, matches_xen_for_every_page_order) {
  const std::uint32_t expected[] = {32, 64, 128, 256, 512};
  for (unsigned order = 0; order <= blkif_max_ring_page_order; ++order) {
    test::ring_memory memory(order);
    EXPECT_EQ(blkif_ring_entries(order), expected[order]);
    EXPECT_EQ(test::xens_front(memory).size(), expected[order]);
    EXPECT_EQ(test::xens_back(memory).size(), expected[order]);
    EXPECT_EQ(blkif_front_ring(memory.bytes()).size(), expected[order]);
    EXPECT_EQ(blkif_back_ring(memory.bytes()).size(), expected[order]);
  }
}

TEST(ring_size, is_the_largest_power_of_two_that_fits_after_the_header) {
  EXPECT_EQ(entries_in(0, 112), 0u);
  EXPECT_EQ(entries_in(64, 112), 0u);
  EXPECT_EQ(entries_in(64 + 111, 112), 0u);
  EXPECT_EQ(entries_in(64 + 112, 112), 1u);
  EXPECT_EQ(entries_in(64 + 223, 112), 1u);
  EXPECT_EQ(entries_in(64 + 224, 112), 2u);
  EXPECT_EQ(entries_in(64 + 3 * 112, 112), 2u);
  // Other protocols: network requests are small, and a console ring does not have entries.
  EXPECT_EQ(entries_in(4096, 12), 256u);
  EXPECT_EQ(entries_in(4096, 8), 256u);
  EXPECT_EQ(entries_in(4096, 4033), 0u);
}

TEST(ring_passes, is_true_if_the_event_index_is_among_the_added_entries) {
  EXPECT_FALSE(passes(10, 13, 10)) << "before the first added entry";
  EXPECT_TRUE(passes(10, 13, 11)) << "the first added entry";
  EXPECT_TRUE(passes(10, 13, 12));
  EXPECT_TRUE(passes(10, 13, 13)) << "the last added entry";
  EXPECT_FALSE(passes(10, 13, 14)) << "after the last added entry";
  EXPECT_FALSE(passes(10, 10, 10)) << "nothing was added";
  EXPECT_FALSE(passes(10, 10, 11));
}

TEST(ring_passes, is_correct_when_indices_wrap) {
  EXPECT_FALSE(passes(0xFFFFFFFE, 1, 0xFFFFFFFE));
  EXPECT_TRUE(passes(0xFFFFFFFE, 1, 0xFFFFFFFF));
  EXPECT_TRUE(passes(0xFFFFFFFE, 1, 0));
  EXPECT_TRUE(passes(0xFFFFFFFE, 1, 1));
  EXPECT_FALSE(passes(0xFFFFFFFE, 1, 2));
}

TEST(shared_ring, copies_entries_to_and_from_xens_positions) {
  test::ring_memory memory;
  shared_ring<112> ring(memory.bytes());
  // Index 33 is entry 1 of 32.
  ring.copy_in(33, test::request_of(7), sizeof(wire::blkif_request));
  // The Xen header declares one entry of an array that extends to the end of the page.
  auto* const entries = &memory.xens()->ring[0];
  EXPECT_EQ((entries + 1)->req.id, 7u);
  (entries + 31)->rsp.id = 9;
  EXPECT_EQ(ring.copy_out<wire::blkif_response>(0xFFFFFFFF).id, 9u);
}

TEST(shared_ring, writes_only_the_bytes_of_the_layout) {
  test::ring_memory memory;
  shared_ring<112> ring(memory.bytes());
  ring.copy_in(0, wire::blkif_discard_request{}, sizeof(wire::blkif_discard_request));
  EXPECT_EQ(memory.bytes()[64 + 31], std::byte{0});
  EXPECT_EQ(memory.bytes()[64 + 32], std::byte{0xA5});
}

}  // namespace
}  // namespace xenpv::ring
