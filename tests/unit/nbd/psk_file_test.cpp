#include "nbd/psk_file.hpp"

#include <gmock/gmock.h>

#include "bytes.hpp"

namespace xenpv::nbd {
namespace {

using ::testing::ElementsAre;

const std::string key = "00112233445566778899aabbccddeeff";

psk_user user(std::string name, std::string_view digits) {
  const auto bytes = test::unhex(digits);
  const auto span = test::as_bytes(bytes);
  return {std::move(name), {span.begin(), span.end()}};
}

/// Returns the error message, or "" if the text parses.
std::string refusal(std::string_view text) {
  const auto parsed = parse_psk_file(text, "keys.psk");
  return parsed.has_value() ? std::string() : parsed.error().text;
}

TEST(psk_file, returns_users_in_the_order_of_its_lines) {
  const auto parsed =
      parse_psk_file("bob:" + key + "\nalice:ffeeddccbbaa99887766554433221100AB\n", "keys.psk");
  EXPECT_THAT(parsed.value(),
              ElementsAre(user("bob", key), user("alice", "ffeeddccbbaa99887766554433221100ab")));
}

TEST(psk_file, reads_a_name_with_a_colon_in_the_format_of_psktool) {
  EXPECT_THAT(parse_psk_file("#623a62:" + key + "\n", "f").value(), ElementsAre(user("b:b", key)));
}

TEST(psk_file, skips_empty_lines_and_comments_and_accepts_any_line_ends) {
  const auto text = "# our keys\r\n\r\n#\nalice:" + key + "\r\n\n\nbob:" + key;
  EXPECT_THAT(parse_psk_file(text, "f").value(), ElementsAre(user("alice", key), user("bob", key)));
}

TEST(psk_file, names_file_line_and_error) {
  const auto good = "alice:" + key + "\n";
  const std::string long_name(257, 'a');
  EXPECT_EQ(refusal(good + "\nbob\n"),
            "keys.psk:3: invalid argument (expected USER:KEY, as written by psktool)");
  EXPECT_EQ(refusal(":" + key),
            "keys.psk:1: invalid argument (the name before the colon is empty)");
  EXPECT_EQ(refusal(good + "#6:" + key),
            "keys.psk:2: invalid argument (the name begins with # but is not in hexadecimal)");
  EXPECT_EQ(refusal("#zz:" + key),
            "keys.psk:1: invalid argument (the name begins with # but is not in hexadecimal)");
  EXPECT_EQ(refusal("#610062:" + key), "keys.psk:1: invalid argument (the name contains a NUL)");
  EXPECT_EQ(refusal(long_name + ":" + key),
            "keys.psk:1: invalid argument (the name is longer than 256 bytes)");
  EXPECT_EQ(refusal("bob:" + key + "0"),
            "keys.psk:1: invalid argument (the key is not hexadecimal with two digits per byte)");
  EXPECT_EQ(refusal("bob: " + key),
            "keys.psk:1: invalid argument (the key is not hexadecimal with two digits per byte)");
  EXPECT_EQ(
      refusal("bob:" + key.substr(2)),
      "keys.psk:1: invalid argument (the key is shorter than 16 bytes (32 hexadecimal digits))");
  EXPECT_EQ(
      refusal("bob:"),
      "keys.psk:1: invalid argument (the key is shorter than 16 bytes (32 hexadecimal digits))");
  EXPECT_EQ(refusal("bob:" + std::string(1026, 'a')),
            "keys.psk:1: invalid argument (the key is longer than 512 bytes)");
}

TEST(psk_file, refuses_a_repeated_name) {
  EXPECT_EQ(refusal("alice:" + key + "\nbob:" + key + "\n#616c696365:" + key),
            "keys.psk:3: invalid argument (duplicate name; see line 1)");
}

TEST(psk_file, refuses_a_file_without_users) {
  const auto message =
      "keys.psk: invalid argument (no users; add one with psktool -u USER -p keys.psk)";
  EXPECT_EQ(refusal(""), message);
  EXPECT_EQ(refusal("\n# nobody yet\n"), message);
}

TEST(psk_file, accepts_names_and_keys_of_any_length_that_tls_can_carry) {
  const std::string name(256, 'a');
  const std::string digits(1024, '7');
  EXPECT_THAT(parse_psk_file(name + ":" + digits, "f").value(), ElementsAre(user(name, digits)));
  EXPECT_THAT(parse_psk_file("b b:" + key, "f").value(), ElementsAre(user("b b", key)));
}

TEST(psk_file, never_shows_a_key) {
  for (const auto& line : {"bob:" + key + "x", key, "bob:" + key.substr(2), ":" + key})
    EXPECT_EQ(refusal(line).find(key.substr(2, 8)), std::string::npos) << line;
}

}  // namespace
}  // namespace xenpv::nbd
