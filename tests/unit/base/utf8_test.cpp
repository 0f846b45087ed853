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

const std::string override_mark = "\xE2\x80\xAE";  // U+202E RIGHT-TO-LEFT OVERRIDE

TEST(printable, keeps_visible_text) {
  for (const std::string text : {"", "xvdb", "~ !", "größer", "\xE2\x82\xAC", "\xF0\x9F\x98\x80",
                                 "\xD7\xA9\xD7\x9C", "a\xCC\x88"})
    EXPECT_EQ(printable(text), text);
}

TEST(printable, escapes_each_byte_of_control_characters_and_invalid_utf8) {
  EXPECT_EQ(printable("a\nxenpv: error: \x1B[2J\x7F"), "a\\x0axenpv: error: \\x1b[2J\\x7f");
  EXPECT_EQ(printable(std::string_view("\0\t", 2)), "\\x00\\x09");
  EXPECT_EQ(printable("\xC2\x9B"
                      "31m"),
            "\\xc2\\x9b31m")
      << "C1: CSI";
  EXPECT_EQ(printable("\xFFok\xC3"), "\\xffok\\xc3");
}

TEST(printable, escapes_marks_that_reorder_or_hide_text) {
  EXPECT_EQ(printable("gpj" + override_mark + "exe"), "gpj\\xe2\\x80\\xaeexe");
  // All of Unicode's Bidi_Control characters, then zero-width ones, separators, fillers and tags.
  for (const std::string mark :
       {"\xD8\x9C",     "\xE2\x80\x8E", "\xE2\x80\x8F", "\xE2\x80\xAA",    "\xE2\x80\xAB",
        "\xE2\x80\xAC", "\xE2\x80\xAD", "\xE2\x80\xAE", "\xE2\x81\xA6",    "\xE2\x81\xA7",
        "\xE2\x81\xA8", "\xE2\x81\xA9", "\xE2\x80\x8B", "\xE2\x80\x8C",    "\xE2\x80\x8D",
        "\xE2\x81\xA0", "\xEF\xBB\xBF", "\xC2\xAD",     "\xE2\x80\xA8",    "\xE2\x80\xA9",
        "\xE3\x85\xA4", "\xEF\xBE\xA0", "\xEF\xB8\x8F", "\xF3\xA0\x81\xA1"}) {
    const auto shown = printable("a" + mark + "b");
    EXPECT_EQ(shown.find(mark), std::string::npos) << shown;
    EXPECT_EQ(shown.size(), 2 + 4 * mark.size()) << shown;
    EXPECT_FALSE(is_visible(mark)) << shown;
  }
}

TEST(printable, truncates_at_a_character) {
  EXPECT_EQ(printable("abcdef", 6), "abcdef");
  EXPECT_EQ(printable("abcdefg", 6), "abc...");
  EXPECT_EQ(printable("ab\xC3\xA4\xC3\xA4\xC3\xA4", 6), "ab...") << "not half of a character";
  EXPECT_EQ(printable("\n\n\n", 6), "\\x0...");
  EXPECT_EQ(printable(std::string(1U << 20U, 'x'), 64).size(), 64U);
}

TEST(printable_lines, keeps_lines_and_indents_all_but_the_first) {
  EXPECT_EQ(printable_lines("a\nxenpv-disk: error\n\x1B[2J"), "a\n  xenpv-disk: error\n  \\x1b[2J");
  EXPECT_EQ(printable_lines(""), "");
}

TEST(printable_json, escapes_what_is_not_visible_and_keeps_the_document_valid) {
  EXPECT_EQ(printable_json("{\n  \"a\": \"\\u001b \xC2\x9B \x7F " + override_mark + "\"\n}"),
            "{\n  \"a\": \"\\u001b \\u009b \\u007f \\u202e\"\n}");
  EXPECT_EQ(printable_json("\xF3\xA0\x81\xA1"), "\\udb40\\udc61") << "a surrogate pair";
  EXPECT_EQ(printable_json("\xFF\xC3\xA4"), "\\ufffd\xC3\xA4");
}

}  // namespace
}  // namespace xenpv
