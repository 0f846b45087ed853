#include "xenpv/blk/page_pool.hpp"

#include <gmock/gmock.h>

#include "unit/blk/pool_memory.hpp"

namespace xenpv::blk {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(page_pool, starts_with_all_pages_free) {
  std::vector<std::byte> memory(3 * page_size);
  page_pool pool(memory);
  EXPECT_EQ(pool.size(), 3u);
  EXPECT_EQ(pool.free(), 3u);
  EXPECT_EQ(pool.least_free(), 3u);
  EXPECT_EQ(pool.data(0), memory.data());
  EXPECT_EQ(pool.data(2), memory.data() + 8192);
}

TEST(page_pool, takes_the_lowest_pages_first) {
  const auto pool = test::make_pool(4);
  const auto chain = pool->take(3);
  ASSERT_TRUE(chain.has_value());
  EXPECT_EQ(chain->count, 3);
  EXPECT_EQ(chain->first, 0);
  EXPECT_EQ(chain->last, 2);
  EXPECT_THAT(test::list(*pool, *chain), ElementsAre(0, 1, 2));
  EXPECT_EQ(pool->free(), 1u);
}

TEST(page_pool, takes_the_most_recently_returned_pages_first) {
  const auto pool = test::make_pool(4);
  const auto first = pool->take(2);
  const auto second = pool->take(1);
  pool->give_back(*first);
  pool->give_back(*second);
  const auto all = pool->take(4);
  EXPECT_THAT(test::list(*pool, *all), ElementsAre(2, 0, 1, 3));
}

TEST(page_pool, takes_all_pages_or_none) {
  const auto pool = test::make_pool(2);
  EXPECT_EQ(pool->take(3).has_value(), false);
  EXPECT_EQ(pool->free(), 2u);
  const auto all = pool->take(2);
  EXPECT_TRUE(all.has_value());
  EXPECT_FALSE(pool->take(1).has_value());
  pool->give_back(*all);
  EXPECT_TRUE(pool->take(2).has_value());
}

TEST(page_pool, takes_no_empty_chain) {
  const auto pool = test::make_pool(2);
  EXPECT_FALSE(pool->take(0).has_value());
  pool->give_back({});
  EXPECT_EQ(pool->free(), 2u);
}

TEST(page_pool, records_the_lowest_number_of_free_pages) {
  const auto pool = test::make_pool(8);
  const auto some = pool->take(5);
  pool->give_back(*some);
  static_cast<void>(pool->take(1));
  static_cast<void>(pool->take(9));
  EXPECT_EQ(pool->least_free(), 3u);
}

TEST(page_chain, is_split_into_a_front_and_a_rest) {
  const auto pool = test::make_pool(5);
  auto chain = *pool->take(5);
  const auto front = pool->split(chain, 2);
  EXPECT_EQ(front.count, 2);
  EXPECT_EQ(front.last, 1);
  EXPECT_THAT(test::list(*pool, front), ElementsAre(0, 1));
  EXPECT_EQ(chain.count, 3);
  EXPECT_EQ(chain.last, 4);
  EXPECT_THAT(test::list(*pool, chain), ElementsAre(2, 3, 4));
}

TEST(page_chain, is_empty_when_all_of_it_was_split_off) {
  const auto pool = test::make_pool(2);
  auto chain = *pool->take(2);
  const auto front = pool->split(chain, 2);
  EXPECT_THAT(test::list(*pool, front), ElementsAre(0, 1));
  EXPECT_EQ(chain.count, 0);
  EXPECT_EQ(chain.first, no_page);
  EXPECT_EQ(chain.last, no_page);
}

TEST(page_chain, is_whole_when_nothing_was_split_off) {
  const auto pool = test::make_pool(2);
  auto chain = *pool->take(2);
  const auto front = pool->split(chain, 0);
  EXPECT_EQ(front.count, 0);
  EXPECT_THAT(test::list(*pool, front), IsEmpty());
  EXPECT_THAT(test::list(*pool, chain), ElementsAre(0, 1));
}

TEST(page_chain, appends_another_chain) {
  const auto pool = test::make_pool(4);
  const auto front = *pool->take(2);
  auto chain = *pool->take(2);
  pool->append(chain, front);
  EXPECT_EQ(chain.count, 4);
  EXPECT_EQ(chain.last, 1);
  EXPECT_THAT(test::list(*pool, chain), ElementsAre(2, 3, 0, 1));
  pool->give_back(chain);
  EXPECT_EQ(pool->free(), 4u);
}

TEST(page_chain, appends_to_and_from_empty_chains) {
  const auto pool = test::make_pool(1);
  page_chain chain;
  pool->append(chain, *pool->take(1));
  EXPECT_THAT(test::list(*pool, chain), ElementsAre(0));
  pool->append(chain, {});
  EXPECT_THAT(test::list(*pool, chain), ElementsAre(0));
}

}  // namespace
}  // namespace xenpv::blk
