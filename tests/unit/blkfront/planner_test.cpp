// The mapping of byte ranges to sectors and segments, tested with tables and, for small sizes, byte
// by byte.
#include "blkfront/planner.hpp"

#include <gmock/gmock.h>

namespace xenpv::blkfront {
namespace {

TEST(cover, extends_to_whole_sectors) {
  EXPECT_EQ(cover({0, 1}, 512), (stretch{0, 512}));
  EXPECT_EQ(cover({511, 513}, 512), (stretch{0, 1024}));
  EXPECT_EQ(cover({512, 1024}, 512), (stretch{512, 1024}));
  EXPECT_EQ(cover({4097, 4098}, 4096), (stretch{4096, 8192}));
  EXPECT_EQ(cover({9223372036854775290, 9223372036854775296}, 512),
            (stretch{9223372036854774784, 9223372036854775296}));
}

struct write_case {
  stretch bytes;
  write_plan expected;
};

TEST(plan_write, splits_into_a_head_whole_sectors_and_a_tail) {
  const write_case cases[] = {
      {{0, 512}, {{}, {}, {0, 512}}},
      {{512, 2048}, {{}, {}, {512, 2048}}},
      {{0, 100}, {{}, stretch{0, 100}, {0, 0}}},
      {{100, 200}, {stretch{100, 200}, {}, {512, 512}}},
      {{100, 512}, {stretch{100, 512}, {}, {512, 512}}},
      {{100, 513}, {stretch{100, 512}, stretch{512, 513}, {512, 512}}},
      {{100, 1024}, {stretch{100, 512}, {}, {512, 1024}}},
      {{100, 1500}, {stretch{100, 512}, stretch{1024, 1500}, {512, 1024}}},
      {{512, 1500}, {{}, stretch{1024, 1500}, {512, 1024}}},
  };
  for (const auto& item : cases) {
    const auto plan = plan_write(item.bytes, 512);
    EXPECT_EQ(plan.head, item.expected.head) << item.bytes.begin << ' ' << item.bytes.end;
    EXPECT_EQ(plan.tail, item.expected.tail) << item.bytes.begin << ' ' << item.bytes.end;
    EXPECT_EQ(plan.middle, item.expected.middle) << item.bytes.begin << ' ' << item.bytes.end;
  }
}

// The following tests use sectors of 8 bytes, so that every range can be tried.
constexpr std::uint64_t all = 48;
constexpr std::uint32_t sector = 8;

/// Returns a letter for each byte's part of the plan: h(ead), m(iddle), t(ail), or '.' for none.
std::string painted(const write_plan& plan) {
  std::string out(all + sector, '.');
  const auto paint = [&](const stretch& s, char c) {
    for (auto i = s.begin; i < s.end; ++i) {
      EXPECT_EQ(out[i], '.') << "byte " << i << " is written twice";
      out[i] = c;
    }
  };
  if (plan.head) paint(*plan.head, 'h');
  if (plan.tail) paint(*plan.tail, 't');
  paint(plan.middle, 'm');
  return out;
}

TEST(plan_write, writes_each_byte_once_and_no_other) {
  for (std::uint64_t begin = 0; begin < all; ++begin) {
    for (auto end = begin + 1; end <= all; ++end) {
      const auto plan = plan_write({begin, end}, sector);
      const auto bytes = painted(plan);
      for (std::uint64_t i = 0; i < bytes.size(); ++i) {
        // Sectors that are written completely do not have to be read first.
        const auto first = i - i % sector;
        const bool whole = begin <= first && first + sector <= end;
        const bool inside = begin <= i && i < end;
        ASSERT_EQ(bytes[i] != '.', inside) << begin << ' ' << end << ' ' << i;
        ASSERT_EQ(bytes[i] == 'm', inside && whole) << begin << ' ' << end << ' ' << i;
      }
      for (const auto& part : {plan.head, plan.tail})
        ASSERT_TRUE(!part || part->begin / sector == (part->end - 1) / sector)
            << begin << ' ' << end;
      ASSERT_EQ(plan.middle.begin % sector, 0u) << begin << ' ' << end;
    }
  }
}

TEST(cover, is_the_smallest_for_every_range) {
  for (std::uint64_t begin = 0; begin < all; ++begin) {
    for (auto end = begin + 1; end <= all; ++end) {
      const auto around = cover({begin, end}, sector);
      ASSERT_TRUE(around.begin <= begin && begin < around.begin + sector);
      ASSERT_TRUE(around.end >= end && end + sector > around.end);
      ASSERT_EQ(around.begin % sector + around.end % sector, 0u);
    }
  }
}

TEST(plan_discard, takes_every_whole_granule_and_nothing_else) {
  for (const std::uint64_t granularity : {4U, 6U, 8U}) {
    for (std::uint64_t alignment = 0; alignment < granularity; ++alignment) {
      for (std::uint64_t begin = 0; begin < all; ++begin) {
        for (auto end = begin; end <= all; ++end) {
          const auto sent = plan_discard({begin, end}, granularity, alignment);
          std::uint64_t granules = 0;
          for (auto at = alignment; at + granularity <= end; at += granularity)
            if (at >= begin) ++granules;
          ASSERT_EQ(sent.size(), granules * granularity) << begin << ' ' << end;
          if (granules == 0) continue;
          ASSERT_TRUE(sent.begin >= begin && sent.end <= end);
          ASSERT_EQ((sent.begin - alignment) % granularity, 0u);
        }
      }
    }
  }
}

TEST(plan_discard, is_empty_when_granules_are_larger_than_any_disk) {
  constexpr auto most = ~std::uint64_t{0};
  EXPECT_TRUE(plan_discard({10, 4096}, most, 5).empty());
  EXPECT_TRUE(plan_discard({10, 4096}, most, most - 1).empty());
  EXPECT_TRUE(plan_discard({10, most}, std::uint64_t{1} << 63U, 6).empty());
  EXPECT_TRUE(plan_discard({0, 0}, 512, 0).empty());
}

TEST(pages_touched, counts_pages_not_bytes) {
  EXPECT_EQ(pages_touched(0, 0), 0u);
  EXPECT_EQ(pages_touched(0, 1), 1u);
  EXPECT_EQ(pages_touched(0, 4096), 1u);
  EXPECT_EQ(pages_touched(0, 4097), 2u);
  EXPECT_EQ(pages_touched(4095, 1), 1u);
  EXPECT_EQ(pages_touched(4095, 2), 2u);
  EXPECT_EQ(pages_touched(3584, 8192), 3u);
}

TEST(bytes_in_segments, are_limited_by_the_pages_from_the_offset_on) {
  EXPECT_EQ(bytes_in_segments(0, 100'000, 11), 45'056u);
  EXPECT_EQ(bytes_in_segments(512, 100'000, 11), 44'544u);
  EXPECT_EQ(bytes_in_segments(4096 + 3584, 100'000, 1), 512u);
  EXPECT_EQ(bytes_in_segments(0, 1024, 11), 1024u);
  EXPECT_EQ(bytes_in_segments(512, 44'544, 11), 44'544u);
  EXPECT_EQ(bytes_in_segments(0, 2'000'000, 256), 1'048'576u);
}

struct segment_case {
  std::uint64_t position, left;
  std::uint32_t unit;
  unsigned first, last;
};

TEST(segment_at, has_the_sectors_of_one_page) {
  const segment_case cases[] = {
      {0, 512, 512, 0, 0},      {0, 4096, 512, 0, 7},        {0, 100'000, 512, 0, 7},
      {512, 512, 512, 1, 1},    {3584, 8192, 512, 7, 7},     {8192 + 1024, 1024, 512, 2, 3},
      {4096, 1024, 512, 0, 1},  {0, 4096, 4096, 0, 0},       {4096, 8192, 4096, 0, 0},
      {1024, 2048, 1024, 1, 2}, {2048, 100'000, 2048, 1, 1},
  };
  for (const auto& item : cases) {
    const auto segment = segment_at(item.position, item.left, item.unit, grant_ref{77});
    EXPECT_EQ(segment.gref, 77u);
    EXPECT_EQ(segment.first_sect, item.first) << item.position << '+' << item.left;
    EXPECT_EQ(segment.last_sect, item.last) << item.position << '+' << item.left;
    EXPECT_EQ(segment.pad, 0u);
  }
}

TEST(segment_at, covers_every_sector_once) {
  for (std::uint64_t position = 0; position < 2 * 4096; position += 512) {
    for (std::uint64_t length = 512; length <= 4 * 4096; length += 512) {
      std::vector<unsigned> seen(6 * 8);
      auto at = position;
      for (unsigned i = 0; i < pages_touched(position, length); ++i) {
        const auto page = position / 4096 + i;
        const auto segment = segment_at(at, position + length - at, 512, grant_ref{1});
        ASSERT_TRUE(segment.first_sect <= segment.last_sect && segment.last_sect < 8);
        for (unsigned s = segment.first_sect; s <= segment.last_sect; ++s)
          ++seen[page * 8 + s];
        at = (page + 1) * 4096;
      }
      for (std::uint64_t s = 0; s < seen.size(); ++s) {
        const bool inside = position <= s * 512 && s * 512 < position + length;
        ASSERT_EQ(seen[s], inside ? 1u : 0u) << position << '+' << length << " sector " << s;
      }
    }
  }
}

}  // namespace
}  // namespace xenpv::blkfront
