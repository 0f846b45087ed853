#include "cli/latency.hpp"

#include <gmock/gmock.h>

#include <sstream>

namespace xenpv::cli {
namespace {

TEST(latency, is_an_empty_cell_for_an_unknown_time) {
  EXPECT_EQ(time_text(std::nullopt), "");
  EXPECT_EQ(time_text(15500), "15.5 us");
}

TEST(latency, has_null_in_json_for_percentiles_without_enough_samples) {
  fine_histogram samples;
  for (std::uint64_t i = 1; i <= 20; ++i)
    samples.add(i);
  EXPECT_EQ(
      latency_json(samples).dump(),
      R"({"samples":20,"min":1,"mean":10,"p50":10,"p90":null,"p99":null,"p99.9":null,"max":20,)"
      R"("histogram":[[1,1],[2,1],[3,1],[4,1],[5,1],[6,1],[7,1],[8,1],[9,1],[10,1],[11,1],)"
      R"([12,1],[13,1],[14,1],[15,1],[16,1],[17,1],[18,1],[19,1],[20,1]]})");
  EXPECT_EQ(latency_json({}).dump(), "null");
}

TEST(latency, has_bars_from_the_first_to_the_last_line_with_samples) {
  fine_histogram samples;
  for (int i = 0; i < 100; ++i)
    samples.add(1000);
  samples.add(5000);
  const auto lines = histogram_lines(samples, 1);
  ASSERT_EQ(lines.size(), 4U);
  EXPECT_EQ(lines[0].limit, 1024U);
  EXPECT_EQ(lines[0].count, 100U);
  EXPECT_EQ(lines[1].count, 0U);
  EXPECT_EQ(lines[3].limit, 8192U);
  // Four lines per power of two: 1000 is in the last quarter of 512 to 1024.
  EXPECT_EQ(histogram_lines(samples, 4).front().limit, 1024U);
  std::ostringstream out;
  print_lines(out, lines);
  EXPECT_EQ(out.str(),
            " < 1.02 us        100 ##################################################\n"
            " < 8.19 us          1 #\n");
}

}  // namespace
}  // namespace xenpv::cli
