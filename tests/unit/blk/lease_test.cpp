#include <gmock/gmock.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>

#include "unit/blk/pool_memory.hpp"

namespace xenpv::blk {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

/// Returns each span as (page * 4096 + offset in the page, number of bytes).
std::vector<std::pair<std::ptrdiff_t, std::size_t>> spans(const lease& held, std::uint64_t offset,
                                                          std::uint64_t count) {
  std::vector<std::pair<std::ptrdiff_t, std::size_t>> result;
  held.for_each_span(offset, count, [&](std::span<std::byte> bytes) {
    result.emplace_back(bytes.data() - held.pool()->data(0), bytes.size());
  });
  return result;
}

std::vector<std::byte> pattern(std::size_t size, unsigned seed) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i)
    bytes[i] = static_cast<std::byte>((i * 7 + i / 251 + seed) & 0xFF);
  return bytes;
}

TEST(lease, default_constructed_lease_is_empty) {
  const lease none;
  EXPECT_FALSE(static_cast<bool>(none));
  EXPECT_EQ(none.length(), 0u);
  EXPECT_EQ(none.pages().count, 0);
}

TEST(lease, starts_at_its_offset_within_the_device_sector) {
  struct example {
    std::uint64_t offset;
    std::uint64_t length;
    std::uint32_t sector_size;
    std::uint32_t lead;
    int pages;
  };
  const example examples[] = {
      {0, 1, 512, 0, 1},
      {0, 4096, 512, 0, 1},
      {512, 4096, 512, 0, 1},
      {4096 + 511, 1, 512, 511, 1},
      {511, 4096, 512, 511, 2},
      {1, 4095, 512, 1, 1},
      {1, 4096, 512, 1, 2},
      {512, 4096, 4096, 512, 2},
      {3584, 512, 4096, 3584, 1},
      {3584, 513, 4096, 3584, 2},
      {(1ULL << 50) + 4095, 2, 4096, 4095, 2},
      {8192, 3 * 4096, 4096, 0, 3},
  };
  for (const auto& [offset, length, sector_size, lead, pages] : examples) {
    const auto pool = test::make_pool(4);
    const auto got = lease::try_take(pool, offset, length, sector_size);
    ASSERT_TRUE(got.has_value()) << offset << '+' << length;
    EXPECT_EQ(got->lead(), lead) << offset << '+' << length;
    EXPECT_EQ(got->pages().count, pages) << offset << '+' << length;
    EXPECT_EQ(got->length(), length);
    EXPECT_EQ(got->pool(), pool.get());
  }
}

TEST(lease, is_refused_while_too_few_pages_are_free) {
  const auto pool = test::make_pool(2);
  EXPECT_FALSE(lease::try_take(pool, 1, 8192, 512).has_value());
  EXPECT_EQ(pool->free(), 2u);
  EXPECT_TRUE(lease::try_take(pool, 0, 8192, 512).has_value());
}

TEST(lease, of_no_bytes_is_refused) {
  const auto pool = test::make_pool(2);
  EXPECT_FALSE(lease::try_take(pool, 0, 0, 512).has_value());
  EXPECT_FALSE(lease::try_take(pool, 5, 0, 512).has_value());
}

TEST(lease, whose_size_overflows_is_refused) {
  const auto pool = test::make_pool(2);
  constexpr auto most = std::numeric_limits<std::uint64_t>::max();
  EXPECT_FALSE(lease::try_take(pool, 511, most, 512).has_value());
  EXPECT_FALSE(lease::try_take(pool, 511, most - 511, 512).has_value());
  EXPECT_FALSE(lease::try_take(pool, 0, most - 4094, 512).has_value());
  EXPECT_FALSE(lease::try_take(pool, 0, (65536ULL + 1) * 4096, 512).has_value());
  EXPECT_EQ(pool->free(), 2u);
}

TEST(lease, returns_its_pages_on_destruction) {
  const auto pool = test::make_pool(3);
  {
    const auto held = lease::try_take(pool, 0, 8192, 512);
    EXPECT_EQ(pool->free(), 1u);
  }
  EXPECT_EQ(pool->free(), 3u);
}

TEST(lease, is_split_into_spans_at_page_boundaries) {
  const auto pool = test::make_pool(4);
  const auto held = lease::try_take(pool, 100, 10'000, 512);
  EXPECT_THAT(spans(*held, 0, 10'000),
              ElementsAre(Pair(100, 3996), Pair(4096, 4096), Pair(8192, 1908)));
  EXPECT_THAT(spans(*held, 0, 3996), ElementsAre(Pair(100, 3996)));
  EXPECT_THAT(spans(*held, 0, 3997), ElementsAre(Pair(100, 3996), Pair(4096, 1)));
  EXPECT_THAT(spans(*held, 3996, 1), ElementsAre(Pair(4096, 1)));
  EXPECT_THAT(spans(*held, 3995, 4098),
              ElementsAre(Pair(4095, 1), Pair(4096, 4096), Pair(8192, 1)));
  EXPECT_THAT(spans(*held, 9999, 1), ElementsAre(Pair(10'099, 1)));
}

TEST(lease, has_no_span_for_an_empty_range) {
  const auto pool = test::make_pool(1);
  const auto held = lease::try_take(pool, 0, 4096, 512);
  EXPECT_THAT(spans(*held, 0, 0), IsEmpty());
  EXPECT_THAT(spans(*held, 4096, 0), IsEmpty());
}

TEST(lease, follows_pages_that_are_not_contiguous) {
  const auto pool = test::make_pool(3);
  auto first = lease::try_take(pool, 0, 4096, 512);
  auto second = lease::try_take(pool, 0, 4096, 512);
  first.reset();
  second.reset();
  const auto held = lease::try_take(pool, 0, 3 * 4096, 512);
  EXPECT_THAT(spans(*held, 0, 3 * 4096),
              ElementsAre(Pair(4096, 4096), Pair(0, 4096), Pair(8192, 4096)));
}

TEST(lease, returns_the_bytes_copied_into_it) {
  const auto pool = test::make_pool(4);
  const auto held = lease::try_take(pool, 300, 9000, 512);
  const auto all = pattern(9000, 1);
  held->copy_from(0, all);
  const auto some = pattern(5000, 2);
  held->copy_from(3700, some);

  auto expected = all;
  std::copy(some.begin(), some.end(), expected.begin() + 3700);
  std::vector<std::byte> copied(9000);
  held->copy_to(0, copied);
  EXPECT_EQ(copied, expected);
  std::vector<std::byte> middle(4100);
  held->copy_to(3790, middle);
  EXPECT_TRUE(std::equal(middle.begin(), middle.end(), expected.begin() + 3790));
}

TEST(lease, copies_do_not_touch_neighbouring_bytes) {
  const auto pool = test::make_pool(2);
  std::fill_n(pool->data(0), 8192, std::byte{0xA5});
  const auto held = lease::try_take(pool, 511, 4000, 512);
  held->copy_from(0, std::vector<std::byte>(4000, std::byte{1}));
  EXPECT_EQ(pool->data(0)[510], std::byte{0xA5});
  EXPECT_EQ(pool->data(0)[511], std::byte{1});
  EXPECT_EQ(pool->data(1)[414], std::byte{1});
  EXPECT_EQ(pool->data(1)[415], std::byte{0xA5});
}

TEST(lease, moves_with_its_pages) {
  const auto pool = test::make_pool(2);
  auto source = *lease::try_take(pool, 5, 4096, 512);
  const lease destination(std::move(source));
  EXPECT_EQ(pool->free(), 0u);
  EXPECT_EQ(destination.lead(), 5u);
  EXPECT_EQ(destination.length(), 4096u);
  EXPECT_THAT(test::list(*pool, destination.pages()), ElementsAre(0, 1));
  EXPECT_FALSE(static_cast<bool>(source));
  EXPECT_EQ(source.length(), 0u);
}

TEST(lease, returns_its_pages_when_another_lease_is_moved_into_it) {
  const auto pool = test::make_pool(3);
  auto held = *lease::try_take(pool, 0, 4096, 512);
  held = *lease::try_take(pool, 3, 8000, 512);
  EXPECT_EQ(pool->free(), 1u);
  EXPECT_EQ(held.lead(), 3u);
  EXPECT_THAT(test::list(*pool, held.pages()), ElementsAre(1, 2));
  auto& itself = held;
  held = std::move(itself);
  EXPECT_EQ(held.length(), 8000u);
  held = lease();
  EXPECT_EQ(pool->free(), 3u);
}

TEST(lease, can_be_used_again_after_its_pages_were_returned) {
  const auto pool = test::make_pool(3);
  lease held;
  EXPECT_TRUE(held.take(pool, 5, 4000, 512));
  EXPECT_EQ(held.lead(), 5u);
  EXPECT_EQ(held.length(), 4000u);
  held.reset();
  EXPECT_FALSE(static_cast<bool>(held));
  EXPECT_EQ(held.length(), 0u);
  EXPECT_EQ(held.pool(), nullptr);
  EXPECT_EQ(pool->free(), 3u);
  EXPECT_TRUE(held.take(pool, 0, 8192, 512));
  EXPECT_EQ(pool->free(), 1u);
  held.reset();
  held.reset();
  EXPECT_EQ(pool->free(), 3u);
}

TEST(lease, takes_no_pages_if_too_few_are_free) {
  const auto pool = test::make_pool(1);
  const auto all = lease::try_take(pool, 0, 4096, 512);
  lease none;
  EXPECT_FALSE(none.take(pool, 0, 1, 512));
  EXPECT_FALSE(none.take(pool, 0, 0, 512));
  EXPECT_FALSE(static_cast<bool>(none));
}

TEST(lease, counts_the_pages_before_the_data_if_sectors_are_larger_than_pages) {
  const auto pool = test::make_pool(4);
  const auto held = lease::try_take(pool, 5000, 100, 8192);
  ASSERT_TRUE(held);
  EXPECT_EQ(held->lead(), 5000u);
  EXPECT_EQ(held->pages().count, 2);
  EXPECT_THAT(spans(*held, 0, 100), ElementsAre(Pair(5000, 100u)));
}

TEST(lease, returns_no_pages_after_abandon) {
  const auto pool = test::make_pool(2);
  page_chain pages;
  {
    auto held = *lease::try_take(pool, 0, 4096, 512);
    pages = held.pages();
    held.abandon();
    EXPECT_FALSE(static_cast<bool>(held));
  }
  EXPECT_EQ(pool->free(), 1u);
  pool->give_back(pages);
  EXPECT_EQ(pool->free(), 2u);
}

TEST(lease, keeps_the_pool_and_its_memory_alive) {
  auto memory = std::make_shared<std::vector<std::byte>>(4096);
  const std::weak_ptr<std::vector<std::byte>> watched = memory;
  auto pool = std::make_shared<page_pool>(*memory, memory);
  memory.reset();
  auto held = lease::try_take(pool, 0, 4096, 512);
  pool.reset();
  EXPECT_FALSE(watched.expired());
  held->copy_from(4095, std::vector<std::byte>(1, std::byte{1}));
  held.reset();
  EXPECT_TRUE(watched.expired());
}

TEST(lease, wakes_the_waiters_for_its_pages) {
  const auto pool = test::make_pool(1);
  auto held = lease::try_take(pool, 0, 1, 512);
  std::string woken;
  std::optional<lease> next;
  test::recording_waiter waiter(woken, 'w', [&] { next = lease::try_take(pool, 0, 4096, 512); });
  pool->wait(waiter);
  held.reset();
  EXPECT_EQ(woken, "w");
  EXPECT_TRUE(next.has_value());
}

}  // namespace
}  // namespace xenpv::blk
