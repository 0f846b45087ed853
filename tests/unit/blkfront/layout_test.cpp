// The layout of granted pages: exact layouts, and invariants that hold for every layout.
#include "blkfront/layout.hpp"

#include <gmock/gmock.h>

#include <random>

namespace xenpv::blkfront {
namespace {

constexpr backend_offer blkback{4, 2, 256};
constexpr backend_offer qdisk{4, 1, 0};
constexpr backend_offer tapdisk{3, 1, 0};
constexpr backend_offer smallest{0, 1, 0};

std::string describe(const layout& l) {
  return fmt::format("{} queues, order {}, {} segments, {} data, {} indirect", l.queues,
                     l.ring_page_order, l.segments, l.data_pages, l.indirect_pages);
}

struct row {
  backend_offer offer;
  layout_limits limits;  ///< order, queues, segments
  std::size_t budget;
  unsigned cpus;
  layout expected;  ///< queues, order, segments, data pages, indirect pages
};

TEST(layout, matches_the_table) {
  const row rows[] = {
      // All of gntalloc's 1024 pages, and half of them.
      {blkback, {}, 1024, 2, {2, 3, 120, 496, 8}},
      {blkback, {}, 1024, 1, {1, 4, 248, 1000, 8}},
      {blkback, {}, 512, 2, {2, 2, 56, 243, 9}},
      {blkback, {}, 512, 1, {1, 3, 120, 496, 8}},
      {qdisk, {}, 1024, 2, {1, 4, 11, 1008, 0}},
      {qdisk, {}, 512, 2, {1, 3, 11, 504, 0}},
      {tapdisk, {}, 1024, 2, {1, 3, 11, 1016, 0}},
      {smallest, {}, 512, 2, {1, 0, 11, 511, 0}},
      // Small budgets.
      {blkback, {}, 16, 2, {1, 0, 11, 15, 0}},
      {blkback, {}, 48, 2, {1, 0, 11, 47, 0}},
      {blkback, {}, 49, 2, {1, 0, 12, 40, 8}},
      {blkback, {}, 64, 2, {1, 0, 12, 53, 10}},
      {blkback, {}, 127, 2, {1, 0, 24, 116, 10}},
      {blkback, {}, 128, 2, {2, 0, 12, 53, 10}},
      {blkback, {}, 128, 0, {1, 1, 24, 116, 10}},
      // Limited by the caller.
      {blkback, {0, {}, {}}, 1024, 1, {1, 0, 248, 1015, 8}},
      {blkback, {{}, 1, {}}, 1024, 2, {1, 4, 248, 1000, 8}},
      {blkback, {{}, {}, 11}, 1024, 1, {1, 4, 11, 1008, 0}},
      {blkback, {{}, {}, 12}, 1024, 1, {1, 4, 12, 840, 168}},
      {blkback, {{}, {}, 32}, 1024, 1, {1, 4, 32, 945, 63}},
      {blkback, {9, 9, 999}, 1024, 2, {2, 3, 120, 496, 8}},
      {blkback, {0, 0, 0}, 1024, 2, {1, 0, 11, 1023, 0}},
      // Large budgets.
      {blkback, {}, 4096, 2, {2, 4, 256, 2017, 15}},
      {{4, 64, 4096}, {}, 32768, 8, {8, 4, 1016, 4064, 16}},
      {{4, 1, 4096}, {}, 1'000'000, 1, {1, 4, 4096, 64736, 248}},
  };
  for (const auto& item : rows) {
    const auto chosen = choose_layout(item.offer, item.limits, item.budget, item.cpus).value();
    EXPECT_EQ(describe(chosen), describe(item.expected))
        << item.budget << " pages, " << item.cpus << " CPUs";
  }
}

TEST(layout, counts_all_pages_of_all_queues) {
  const layout two{2, 3, 120, 496, 8};
  EXPECT_EQ(two.ring_pages(), 8u);
  EXPECT_EQ(two.pages_per_queue(), 512u);
  EXPECT_EQ(two.pages(), 1024u);
}

TEST(layout, names_the_minimum_when_the_budget_is_too_small) {
  for (const auto& [budget, text] :
       {std::pair{0U, "connect with 0 granted pages"}, {15U, "connect with 15 granted pages"}}) {
    const auto refused = choose_layout(blkback, {}, budget, 2);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, errc::limit_reached);
    EXPECT_EQ(refused.error().text,
              std::string(text) +
                  ": limit reached (at least 16 are needed: raise "
                  "/sys/module/xen_gntalloc/parameters/limit or the page budget)");
  }
}

TEST(layout, never_needs_more_than_the_budget) {
  std::mt19937 random(1);
  const auto pick = [&](unsigned low, unsigned high) {
    return std::uniform_int_distribution<unsigned>(low, high)(random);
  };
  for (unsigned i = 0; i < 100'000; ++i) {
    const backend_offer offer{pick(0, 4), pick(1, 64), pick(0, 1) * pick(0, 4096)};
    layout_limits limits;
    if (pick(0, 3) == 0) limits.ring_page_order = pick(0, 5);
    if (pick(0, 3) == 0) limits.queues = pick(0, 70);
    if (pick(0, 3) == 0) limits.segments = pick(0, 5000);
    const std::size_t budget = 16 + pick(0, 1U << pick(0, 20));
    const auto plan = choose_layout(offer, limits, budget, pick(0, 64)).value();
    ASSERT_LE(plan.pages(), budget) << describe(plan);
    // The engine reserves two pages, and a full direct request needs eleven.
    ASSERT_GE(plan.data_pages, 13u) << describe(plan);
    ASSERT_LT(plan.pages_per_queue(), 65'535u) << "page_pool cannot number more pages";
    ASSERT_EQ(plan.segments > 11, plan.indirect_pages > 0) << describe(plan);
    ASSERT_TRUE(plan.segments == 11 || plan.segments <= offer.max_indirect_segments);
    ASSERT_LE(plan.queues, offer.max_queues);
    ASSERT_LE(plan.ring_page_order, offer.max_ring_page_order);
    // The largest ring request fits into the pages that are not reserved for merging.
    ASSERT_LE(plan.segments, plan.data_pages - 2) << describe(plan);
    ASSERT_GE(plan.indirect_pages, (plan.segments > 11 ? (plan.segments + 511) / 512 : 0U));
  }
}

TEST(layout, leaves_no_page_of_a_single_queue_unused) {
  for (std::size_t budget = 16; budget <= 4096; ++budget)
    ASSERT_EQ(choose_layout(blkback, {}, budget, 1).value().pages(), budget);
}

TEST(layout, grows_with_its_budget) {
  for (const unsigned cpus : {1U, 4U}) {
    const backend_offer offer{4, 4, 256};
    auto before = choose_layout(offer, {}, 16, cpus).value();
    for (std::size_t budget = 17; budget <= 4096; ++budget) {
      const auto plan = choose_layout(offer, {}, budget, cpus).value();
      ASSERT_GE(plan.queues, before.queues) << budget;
      if (plan.queues == before.queues) {
        ASSERT_GE(plan.ring_page_order, before.ring_page_order) << budget;
        ASSERT_GE(plan.segments, before.segments) << budget;
      }
      before = plan;
    }
  }
}

TEST(page_budget, is_half_of_the_free_pages_beyond_the_reserve) {
  EXPECT_EQ(first_budget(1024, 0), 448U);
  EXPECT_EQ(first_budget(1024, 448), 224U);
  EXPECT_EQ(first_budget(8192, 0), 3584U);
}

TEST(page_budget, leaves_pages_for_every_disk_and_keeps_the_reserve) {
  std::size_t granted = 0;
  for (unsigned disk = 0; disk < 8; ++disk) {
    const auto budget = first_budget(1024, granted);
    EXPECT_GE(budget, least_pages);
    granted += budget;
  }
  EXPECT_LE(granted, 1024 - reserved_pages(1024) + 3 * least_pages);
}

TEST(page_budget, is_never_below_the_minimum) {
  EXPECT_EQ(first_budget(1024, 1024), least_pages);
  EXPECT_EQ(first_budget(0, 0), least_pages);
}

using cpu_list = std::vector<std::size_t>;

TEST(choose_cpus, prefers_the_cpus_with_the_fewest_queues) {
  EXPECT_EQ(choose_cpus(cpu_list{0, 0, 0, 0}, 4), (cpu_list{0, 1, 2, 3}));
  EXPECT_EQ(choose_cpus(cpu_list{1, 0}, 1), (cpu_list{1}));
  EXPECT_EQ(choose_cpus(cpu_list{2, 1, 2, 0}, 2), (cpu_list{3, 1}));
  EXPECT_EQ(choose_cpus(cpu_list{1, 1, 0}, 2), (cpu_list{2, 0}));
}

}  // namespace
}  // namespace xenpv::blkfront
