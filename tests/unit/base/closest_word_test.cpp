#include "base/closest_word.hpp"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace xenpv::test {
namespace {

constexpr std::array<std::string_view, 6> commands = {"list",   "serve",  "attach",
                                                      "detach", "status", "reload"};

std::string closest_command(std::string_view word) {
  return std::string(closest_word(word, commands).value_or("(none)"));
}

TEST(closest_word, finds_the_word_with_the_fewest_errors) {
  EXPECT_EQ(closest_command("serv"), "serve");
  EXPECT_EQ(closest_command("serrve"), "serve");
  EXPECT_EQ(closest_command("sevre"), "serve");
  EXPECT_EQ(closest_command("detatch"), "detach");
  EXPECT_EQ(closest_command("atach"), "attach");
  EXPECT_EQ(closest_command("status"), "status");
  EXPECT_EQ(closest_command("lsit"), "list");
}

TEST(closest_word, finds_nothing_if_no_word_is_similar) {
  EXPECT_EQ(closest_command("open"), "(none)");
  EXPECT_EQ(closest_command("mount"), "(none)");
  EXPECT_EQ(closest_command("x"), "(none)");
  EXPECT_EQ(closest_command(""), "(none)");
  EXPECT_EQ(closest_command(std::string(1000, 's')), "(none)");
  EXPECT_EQ(closest_word("serve", {}), std::nullopt);
}

TEST(closest_word, does_not_confuse_words_of_one_letter) {
  constexpr std::array<std::string_view, 2> options = {"-q", "-d"};
  EXPECT_EQ(closest_word("z", std::array<std::string_view, 1>{"q"}), std::nullopt);
  EXPECT_EQ(closest_word("-q", options), "-q");
}

TEST(closest_word, prefers_the_first_of_equally_similar_words) {
  constexpr std::array<std::string_view, 2> words = {"read", "real"};
  EXPECT_EQ(closest_word("reax", words), "read");
}

TEST(did_you_mean, is_the_end_of_a_sentence_or_empty) {
  EXPECT_EQ(did_you_mean("serv", commands), "; did you mean 'serve'?");
  EXPECT_EQ(did_you_mean("open", commands), "");
}

}  // namespace
}  // namespace xenpv::test
