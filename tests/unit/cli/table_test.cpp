#include "cli/table.hpp"

#include <gtest/gtest.h>

#include <sstream>
#include <stdexcept>

#include "cli/json.hpp"
#include "cli/text.hpp"

namespace xenpv::cli {
namespace {

std::string print(const table& t) {
  std::ostringstream out;
  t.print(out);
  return out.str();
}

TEST(cli_table, aligns_text_left_and_numbers_right_without_trailing_spaces) {
  table t({{"PORT", align::right}, {"STATE"}, {"EVENTS", align::right}, {"NOTE"}});
  t.add_row({"7", "interdomain", "1234567", "a"}).add_row({"12", "virq", "9", "longer"});
  EXPECT_EQ(print(t),
            "PORT  STATE         EVENTS  NOTE\n"
            "   7  interdomain  1234567  a\n"
            "  12  virq               9  longer\n");
}

TEST(cli_table, prints_only_the_header_when_empty) {
  const table t({{"A"}, {"LAST"}});
  EXPECT_TRUE(t.empty());
  EXPECT_EQ(print(t), "A  LAST\n");
}

TEST(cli_table, shows_an_empty_cell_as_a_dash) {
  table t({{"A"}, {"B"}});
  t.add_row({"", "x"});
  EXPECT_EQ(print(t), "A  B\n-  x\n");
}

TEST(cli_table, counts_characters_instead_of_bytes) {
  table t({{"TIME", align::right}, {"X"}});
  t.add_row({"15 \xC2\xB5s", "a"}).add_row({"1500 s", "b"});
  EXPECT_EQ(print(t), "  TIME  X\n 15 \xC2\xB5s  a\n1500 s  b\n");
}

TEST(cli_table, rejects_a_row_with_the_wrong_number_of_cells) {
  table t({{"A"}, {"B"}});
  try {
    t.add_row({"only one"});
    FAIL() << "expected an exception";
  } catch (const std::invalid_argument& e) {
    EXPECT_STREQ(e.what(), "table row of 1 cells for 2 columns");
  }
}

TEST(cli_table, escapes_terminal_control_characters) {
  EXPECT_EQ(printable("plain \xE2\x82\xAC"), "plain \xE2\x82\xAC");
  EXPECT_EQ(printable("\x1B[2J\n\t\x7F"), "\\x1b[2J\\x0a\\x09\\x7f");
  EXPECT_EQ(printable("\xC2\x9B"
                      "1m"),
            "\\xc2\\x9b1m");
  EXPECT_EQ(printable("\xFFok\xC3"), "\\xffok\\xc3");
}

TEST(cli_text, wraps_at_spaces) {
  using lines = std::vector<std::string>;
  EXPECT_EQ(wrap("one two three", 7), (lines{"one two", "three"}));
  EXPECT_EQ(wrap("one incomprehensible two", 7), (lines{"one", "incomprehensible", "two"}));
  EXPECT_EQ(wrap("", 7), (lines{""}));
}

TEST(cli_text, breaks_a_long_row_of_optional_parts) {
  using lines = std::vector<std::string>;
  EXPECT_EQ(wrap("see A=B[,ro][,sector=4096][,x] now", 14),
            (lines{"see A=B[,ro]", "[,sector=4096]", "[,x] now"}));
  EXPECT_EQ(wrap("a [b][c]", 6), (lines{"a", "[b][c]"})) << "fits on a separate line";
}

TEST(cli_json, has_the_schema_first_and_keeps_the_order_of_keys) {
  auto document = json_document("vault.list", 3);
  document["zebra"] = 1;
  document["ant"] = "x\"y";
  std::ostringstream out;
  print_json(out, document);
  EXPECT_EQ(out.str(),
            "{\n"
            "  \"schema\": \"vault.list\",\n"
            "  \"schema_version\": 3,\n"
            "  \"zebra\": 1,\n"
            "  \"ant\": \"x\\\"y\"\n"
            "}\n");
}

TEST(cli_json, stays_valid_for_values_that_are_not_utf8) {
  auto document = json_document("vault.list", 1);
  document["name"] = "a\xFFz";
  std::ostringstream out;
  print_json(out, document);
  EXPECT_EQ(json::parse(out.str()).at("name"), "a\xEF\xBF\xBDz");
}

}  // namespace
}  // namespace xenpv::cli
