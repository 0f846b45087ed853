#include "base/parse.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <limits>
#include <string>

namespace xenpv {
namespace {

using namespace std::chrono_literals;
constexpr auto u64_max = std::numeric_limits<std::uint64_t>::max();

TEST(parse_unsigned, accepts_decimal_numbers_within_the_bounds) {
  EXPECT_EQ(parse_unsigned("0", "n").value(), 0U);
  EXPECT_EQ(parse_unsigned("007", "n").value(), 7U);
  EXPECT_EQ(parse_unsigned("18446744073709551615", "n").value(), u64_max);
  EXPECT_EQ(parse_unsigned("4", "n", 4, 4).value(), 4U);
}

TEST(parse_unsigned, rejects_junk_and_overflow) {
  for (const auto* text : {"", " ", "-1", "+1", "1 ", " 1", "1.0", "0x10", "1K", "ten",
                           "18446744073709551616", "99999999999999999999999"}) {
    const auto parsed = parse_unsigned(text, "--n");
    ASSERT_FALSE(parsed) << '\'' << text << '\'';
    EXPECT_EQ(parsed.error().code, errc::invalid_argument);
    EXPECT_EQ(parsed.error().text, "--n '" + std::string(text) +
                                       "': invalid argument (expected a whole number, 0 or more)");
  }
  EXPECT_FALSE(parse_unsigned(std::string_view("1\0", 2), "--n")) << "trailing NUL";
}

TEST(parse_unsigned, names_the_bounds) {
  EXPECT_EQ(parse_unsigned("3", "--queues", 4, 8).error().text,
            "--queues '3': invalid argument (expected a whole number from 4 to 8)");
  EXPECT_EQ(parse_unsigned("9", "--queues", 4, 8).error().text,
            "--queues '9': invalid argument (expected a whole number from 4 to 8)");
  EXPECT_EQ(parse_unsigned("0", "--queues", 1).error().text,
            "--queues '0': invalid argument (expected a whole number, 1 or more)");
}

TEST(parse_size, accepts_powers_of_1024) {
  const std::pair<const char*, std::uint64_t> sizes[] = {
      {"0", 0},
      {"0T", 0},
      {"4096", 4096},
      {"7B", 7},
      {"512K", 524'288},
      {"512k", 524'288},
      {"512KiB", 524'288},
      {"256M", 268'435'456},
      {"256MiB", 268'435'456},
      {"10G", 10'737'418'240},
      {"10GiB", 10'737'418'240},
      {"1T", 1'099'511'627'776},
      {"1TiB", 1'099'511'627'776},
      {"16777215T", 18'446'742'974'197'923'840U},
      {"18446744073709551615", u64_max},
  };
  for (const auto& [text, bytes] : sizes)
    EXPECT_EQ(parse_size(text, "s").value(), bytes) << text;
}

TEST(parse_size, rejects_junk_and_overflow) {
  for (const auto* text : {"", "K", "-1K", "1.5G", "1 K", "1KB", "1Ki", "1P", "1KK", "0x1K",
                           "16777216T", "18446744073709551616", "18014398509481984K"}) {
    const auto parsed = parse_size(text, "memory=");
    ASSERT_FALSE(parsed) << '\'' << text << '\'';
    EXPECT_EQ(
        parsed.error().text,
        "memory= '" + std::string(text) +
            "': invalid argument (expected bytes with an optional K, M, G or T, such as 256M)");
  }
}

TEST(parse_duration, accepts_every_unit) {
  EXPECT_EQ(parse_duration("0", "t").value(), 0ns);
  EXPECT_EQ(parse_duration("250ns", "t").value(), 250ns);
  EXPECT_EQ(parse_duration("250us", "t").value(), 250us);
  EXPECT_EQ(parse_duration("5ms", "t").value(), 5ms);
  EXPECT_EQ(parse_duration("2s", "t").value(), 2s);
  EXPECT_EQ(parse_duration("3min", "t").value(), 3min);
  EXPECT_EQ(parse_duration("1h", "t").value(), 1h);
  EXPECT_EQ(parse_duration("2d", "t").value(), 48h);
  EXPECT_EQ(parse_duration("9223372036854775807ns", "t").value(), std::chrono::nanoseconds::max());
}

TEST(parse_duration, rejects_junk_overflow_and_a_missing_unit) {
  for (const auto* text : {"",
                           "5",
                           "00x",
                           "s",
                           "-5ms",
                           "1.s",
                           ".5s",
                           "0.0",
                           "1.5",
                           "1..5s",
                           "1.5.5s",
                           "5 ms",
                           "5S",
                           "5m",
                           "0.5ns",
                           "1.2345us",
                           "9223372036854775808ns",
                           "9223372037s",
                           "9223372036.9s",
                           "153722868min",
                           "106752d",
                           "18446744073709551615min"}) {
    const auto parsed = parse_duration(text, "--wait");
    ASSERT_FALSE(parsed) << '\'' << text << '\'';
    EXPECT_EQ(parsed.error().text, "--wait '" + std::string(text) +
                                       "': invalid argument (expected a time with a unit "
                                       "(ns, us, ms, s, min, h, d), such as 0.5s)");
  }
}

TEST(parse_duration, accepts_fractions_of_whole_nanoseconds) {
  EXPECT_EQ(parse_duration("0.5s", "t").value(), 500ms);
  EXPECT_EQ(parse_duration("1.5h", "t").value(), 90min);
  EXPECT_EQ(parse_duration("0.25d", "t").value(), 6h);
  EXPECT_EQ(parse_duration("2.500us", "t").value(), 2500ns);
  EXPECT_EQ(parse_duration("0.000000001s", "t").value(), 1ns);
  EXPECT_EQ(parse_duration("1.0000000000000000000000s", "t").value(), 1s);
  EXPECT_EQ(parse_duration("7.0ns", "t").value(), 7ns);
}

TEST(parse_ratio, accepts_ratios_up_to_one) {
  EXPECT_EQ(parse_ratio("1/10", "r").value(), (ratio{1, 10}));
  EXPECT_EQ(parse_ratio("0/1", "r").value(), (ratio{0, 1}));
  EXPECT_EQ(parse_ratio("3/3", "r").value(), (ratio{3, 3}));
  EXPECT_EQ(parse_ratio("4294967295/4294967295", "r").value(),
            (ratio{4'294'967'295U, 4'294'967'295U}));
}

TEST(parse_ratio, rejects_junk_overflow_and_more_than_one) {
  for (const auto* text :
       {"", "/", "1", "1/", "/2", "2/1", "0/0", "1/0", "-1/2", "1/-2", "1//2", "1/2/3", "1/2 ",
        " 1/2", "10%", "1/4294967296", "4294967296/4294967296"}) {
    const auto parsed = parse_ratio(text, "--lose");
    ASSERT_FALSE(parsed) << '\'' << text << '\'';
    EXPECT_EQ(parsed.error().text,
              "--lose '" + std::string(text) +
                  "': invalid argument (expected a ratio of at most one, such as 1/10)");
  }
}

TEST(split, keeps_empty_fields) {
  using fields = std::vector<std::string_view>;
  EXPECT_EQ(split("a,b,c", ','), (fields{"a", "b", "c"}));
  EXPECT_EQ(split("", ','), (fields{""}));
  EXPECT_EQ(split(",", ','), (fields{"", ""}));
  EXPECT_EQ(split("a,,b,", ','), (fields{"a", "", "b", ""}));
  EXPECT_EQ(split("a;b", ','), (fields{"a;b"}));
}

TEST(format_size, uses_the_largest_exact_unit) {
  const std::pair<std::uint64_t, const char*> sizes[] = {
      {0, "0 B"},
      {512, "512 B"},
      {1023, "1023 B"},
      {1024, "1 KiB"},
      {1025, "1025 B"},
      {1'572'864, "1536 KiB"},
      {268'435'456, "256 MiB"},
      {1'073'741'824, "1 GiB"},
      {1'099'511'627'776, "1 TiB"},
      {1'125'899'906'842'624, "1024 TiB"},
      {u64_max, "18446744073709551615 B"},
  };
  for (const auto& [bytes, text] : sizes)
    EXPECT_EQ(format_size(bytes), text);
}

TEST(format_duration, has_three_significant_digits) {
  const std::pair<std::chrono::nanoseconds, const char*> durations[] = {
      {0ns, "0 ns"},       {1ns, "1 ns"},       {812ns, "812 ns"},     {999ns, "999 ns"},
      {1000ns, "1.00 us"}, {1204ns, "1.20 us"}, {15'500ns, "15.5 us"}, {999'400ns, "999 us"},
      {2500us, "2.50 ms"}, {1200ms, "1.20 s"},  {3600s, "3600 s"},     {-15'500ns, "-15.5 us"},
  };
  for (const auto& [value, text] : durations)
    EXPECT_EQ(format_duration(value), text);
}

TEST(format_duration, rounds_up_to_the_next_unit) {
  EXPECT_EQ(format_duration(9'999ns), "10.0 us");
  EXPECT_EQ(format_duration(99'960ns), "100 us");
  EXPECT_EQ(format_duration(999'600ns), "1.00 ms");
  EXPECT_EQ(format_duration(999'999'999ns), "1.00 s");
}

TEST(parse_whole, accepts_only_a_number_without_other_text) {
  EXPECT_EQ(parse_whole<unsigned>("0"), 0U);
  EXPECT_EQ(parse_whole<std::uint64_t>("18446744073709551615"), ~std::uint64_t{0});
  EXPECT_FALSE(parse_whole<unsigned>(""));
  EXPECT_FALSE(parse_whole<unsigned>(" 1"));
  EXPECT_FALSE(parse_whole<unsigned>("1a"));
  EXPECT_FALSE(parse_whole<unsigned>("-1"));
  EXPECT_FALSE(parse_whole<std::uint16_t>("65536"));
}

}  // namespace
}  // namespace xenpv
