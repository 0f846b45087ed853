#include "cli/completion.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "unit/cli/run_app.hpp"

namespace xenpv::cli::test {
namespace {

std::string complete(vault& v, std::vector<std::string> words) {
  words.insert(words.begin(), "--complete");
  const auto [status, out, err] = v.run(words);
  EXPECT_EQ(status, exit_code::ok);
  EXPECT_EQ(err, "");
  return out;
}

/// Only the words.
std::string words_after(std::vector<std::string> words) {
  vault v;
  std::string out;
  std::istringstream lines(complete(v, std::move(words)));
  std::string line;
  std::getline(lines, line);
  if (line != "words") return line;
  while (std::getline(lines, line))
    out += (out.empty() ? "" : " ") + line.substr(0, line.find('\t'));
  return out;
}

TEST(cli_completion, offers_commands_with_their_summaries) {
  vault v;
  EXPECT_EQ(complete(v, {""}),
            "words\nrun\trun a command in the vault\nitem\tmanage the contents\nfail\tfail\n");
  EXPECT_EQ(words_after({"i"}), "item");
  EXPECT_EQ(words_after({"item", ""}), "list remove");
  EXPECT_EQ(words_after({"item", "x"}), "");
  EXPECT_EQ(words_after({"--log", "json", "item", "l"}), "list");
}

TEST(cli_completion, offers_the_options_of_a_command_and_its_parents) {
  EXPECT_EQ(words_after({"run", "--"}),
            "--door --wait --guests --quiet --help --version --log --log-level");
  EXPECT_EQ(words_after({"run", "--l"}), "--log --log-level");
  EXPECT_EQ(words_after({"item", "list", "-"}), "--json --help -h --version --log --log-level");
  vault v;
  EXPECT_EQ(complete(v, {"run", "--q"}), "words\n--quiet\tprint nothing\n");
}

TEST(cli_completion, offers_an_option_again_only_if_it_may_be_repeated) {
  EXPECT_EQ(words_after({"run", "--door", "a", "--guests=2", "-q", "--"}),
            "--door --wait --help --version --log --log-level");
}

TEST(cli_completion, offers_the_values_of_an_option) {
  EXPECT_EQ(words_after({"run", "--log-level", ""}), "error warning info debug");
  EXPECT_EQ(words_after({"run", "--log-level", "d"}), "debug");
  EXPECT_EQ(words_after({"--log=j"}), "--log=json");
  EXPECT_EQ(words_after({"run", "--wait", ""}), "");
  EXPECT_EQ(words_after({"run", "--quiet=", ""}), "--");
  EXPECT_EQ(words_after({"run", "--nonsense="}), "");
}

TEST(cli_completion, leaves_the_command_after_the_hyphens_to_the_shell) {
  EXPECT_EQ(words_after({"run", ""}), "--");
  EXPECT_EQ(words_after({"run", "--", ""}), "command");
  EXPECT_EQ(words_after({"run", "--", "ls", "--l"}), "command");
  EXPECT_EQ(words_after({"item", "--", ""}), "");
  // Never the value of an option.
  EXPECT_EQ(words_after({"run", "--door", "--", ""}), "command");
}

TEST(cli_completion, leaves_files_and_directories_to_the_shell) {
  app program("copy", "copy a file");
  std::string text;
  program.root()
      .option("--from DIR", text, "from here", as_text)
      .argument("FILE", text, "the file", as_text)
      .action([](std::ostream&) { return exit_code::ok; });
  const auto kind_of = [&](std::vector<std::string> words) {
    words.insert(words.begin(), "--complete");
    std::ostringstream out;
    std::ostringstream err;
    EXPECT_EQ(program.run(words, out, err), exit_code::ok);
    return out.str();
  };
  EXPECT_EQ(kind_of({""}), "files\n");
  EXPECT_EQ(kind_of({"--from", ""}), "directories\n");
  EXPECT_EQ(kind_of({"--from=/t"}), "directories\n");
  EXPECT_EQ(kind_of({"--from=/tmp", "one"}), "files\n");
  EXPECT_EQ(kind_of({"one", ""}), "words\n");
}

TEST(cli_completion, asks_the_program_for_values_that_exist) {
  vault v;
  v.complete_values("NAME", [] {
    return std::vector<completion_word>{{"ring", "made of gold"}, {"rope"}, {"coin"}};
  });
  EXPECT_EQ(complete(v, {"item", "remove", "--key", "1", "r"}),
            "words\nring\tmade of gold\nrope\n");
  // REASON follows.
  EXPECT_EQ(complete(v, {"item", "remove", "ring", ""}), "words\n");
}

TEST(cli_completion, offers_nothing_if_the_values_cannot_be_read) {
  vault v;
  v.complete_values(
      "NAME", []() -> std::vector<completion_word> { throw std::runtime_error("no access"); });
  EXPECT_EQ(complete(v, {"item", "remove", ""}), "words\n");
}

TEST(cli_completion, offers_no_word_that_a_shell_would_interpret) {
  vault v;
  v.complete_values("NAME", [] {
    return std::vector<completion_word>{{"$(reboot)"}, {"a b"}, {"a\nb"},
                                        {""},          {"a;b"}, {"good", "has a\ttab"}};
  });
  EXPECT_EQ(complete(v, {"item", "remove", ""}), "words\ngood\thas a\\x09tab\n");
}

}  // namespace
}  // namespace xenpv::cli::test
