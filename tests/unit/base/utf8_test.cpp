#include "base/utf8.hpp"

#include <gtest/gtest.h>

namespace xenpv {
namespace {

TEST(utf8_length, accepts_only_valid_characters) {
  EXPECT_EQ(utf8_length("a"), 1U);
  EXPECT_EQ(utf8_length("\xC3\xA4"), 2U);
  EXPECT_EQ(utf8_length("\xE2\x82\xAC"), 3U);
  EXPECT_EQ(utf8_length("\xF0\x9F\x98\x80"), 4U);
  EXPECT_EQ(utf8_length(""), 0U);
  EXPECT_EQ(utf8_length("\xE2\x82"), 0U) << "truncated";
  EXPECT_EQ(utf8_length("\xC0\xAF"), 0U) << "overlong";
  EXPECT_EQ(utf8_length("\xED\xA0\x80"), 0U) << "surrogate";
  EXPECT_EQ(utf8_length("\xF4\x90\x80\x80"), 0U) << "above U+10FFFF";
  EXPECT_EQ(utf8_length("\x80"), 0U) << "continuation byte only";
}

TEST(utf8, counts_and_truncates_characters_not_bytes) {
  EXPECT_EQ(utf8_characters(""), 0U);
  EXPECT_EQ(utf8_characters("größer"), 6U);
  EXPECT_EQ(utf8_prefix("größer", 3), "grö");
  EXPECT_EQ(utf8_prefix("größer", 6), "größer");
  EXPECT_EQ(utf8_prefix("größer", 99), "größer");
  EXPECT_EQ(utf8_prefix("größer", 0), "");
  EXPECT_EQ(utf8_prefix("\xF0\x9F\x90\xA7!", 1), "\xF0\x9F\x90\xA7");
}

}  // namespace
}  // namespace xenpv
