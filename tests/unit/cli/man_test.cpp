#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "unit/cli/run_app.hpp"

namespace xenpv::cli::test {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST(cli_man, has_all_sections_in_order) {
  vault v;
  const auto [status, page, err] = v.run({"--help-man"});
  ASSERT_EQ(status, exit_code::ok);
  EXPECT_THAT(page, StartsWith(".TH \"VAULT\" 1 \"\" \"xenpv "));
  std::size_t offset = 0;
  for (const auto* part :
       {".SH NAME\nvault \\- store things in a vault\n",
        ".SH SYNOPSIS\n.PP\n.B \"vault run [OPTIONS] \\-\\- COMMAND [ARGUMENT...]\"\n",
        ".B \"vault item remove [OPTIONS] \\-\\-key DOMAIN NAME [REASON...]\"\n",
        ".SH DESCRIPTION\n.PP\nA vault stores things for its owner.\n",
        ".SH COMMANDS\n.SS \"vault run [OPTIONS] \\-\\- COMMAND [ARGUMENT...]\"\n"
        "run a command in the vault.\n",
        ".TP\n.BI \"\\-d, \\-\\-door \" \"SPEC\"\nadd a door (may be given several times)\n",
        ".TP\n.B \"\\-q, \\-\\-quiet\"\nprint nothing\n", ".TP\n.I \"[REASON...]\"\nwhy\n",
        ".SH OPTIONS\n", ".TP\n.B \"\\-h, \\-\\-help\"\n", ".SH EXIT STATUS\n.TP\n.B 0\n",
        ".TP\n.B 77\n",
        ".SH EXAMPLES\n.PP\nList the contents:\n.PP\n.RS 4\n.nf\n"
        "vault run \\-d small \\-\\- ls \\-l\n.fi\n.RE\n",
        ".SH SEE ALSO\n.BR xenpv\\-disk (1),\n"}) {
    const auto position = page.find(part, offset);
    ASSERT_NE(position, std::string::npos) << "missing or out of order: " << part;
    offset = position;
  }
}

TEST(cli_man, has_program_sections_before_the_examples) {
  app program("vault", "keep things");
  program.root()
      .manual_section("FILES", {{"/vault", "All things."}})
      .example("open it", "vault")
      .action([](std::ostream&) { return exit_code::ok; });
  std::ostringstream out;
  std::ostringstream err;
  const std::vector<std::string> arguments = {"--help-man"};
  ASSERT_EQ(program.run(arguments, out, err), exit_code::ok);
  const auto files = out.str().find(".SH FILES\n.TP\n.B \"/vault\"\nAll things.\n");
  ASSERT_NE(files, std::string::npos) << out.str();
  EXPECT_LT(files, out.str().find(".SH EXAMPLES"));
}

TEST(cli_man, escapes_characters_that_roff_interprets) {
  app program("dots", "shows .dots");
  bool flag = false;
  program.root()
      .describe(".starts with a dot")
      .describe("long[,one][,two]")
      .describe("'starts with a quote and has a back\\slash")
      .flag("--say-\"hello\"", flag, ".help")
      .action([](std::ostream&) { return exit_code::ok; });
  std::ostringstream out;
  std::ostringstream err;
  const std::vector<std::string> arguments = {"--help-man"};
  ASSERT_EQ(program.run(arguments, out, err), exit_code::ok);
  EXPECT_THAT(out.str(), HasSubstr(".PP\n\\&.starts with a dot\n"));
  EXPECT_THAT(out.str(), HasSubstr(".PP\n\\&'starts with a quote and has a back\\eslash\n"));
  EXPECT_THAT(out.str(), HasSubstr(".PP\nlong[,one]\\:[,two]\n"));
  EXPECT_THAT(out.str(), HasSubstr(".B \"\\-\\-say\\-\\(dqhello\\(dq\"\n\\&.help\n"));
}

/// The output of groff, including its messages, for a page.
std::string groff(const std::string& page, const std::string& options) {
  const auto path = testing::TempDir() + "vault-" + std::to_string(::getpid()) + ".1";
  std::ofstream(path) << page;
  const auto command = "groff -ww -man -Tascii " + options + " '" + path + "' 2>&1";
  std::FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return "cannot run groff";
  std::string out;
  std::array<char, 4096> text{};
  while (const auto size = std::fread(text.data(), 1, text.size(), pipe))
    out.append(text.data(), size);
  EXPECT_EQ(::pclose(pipe), 0);
  std::remove(path.c_str());
  return out;
}

bool has_groff() {
  return std::system("groff --version >/dev/null 2>&1") == 0;
}

TEST(cli_man, is_accepted_by_groff_without_warnings) {
  if (!has_groff()) GTEST_SKIP() << "needs groff";
  vault v;
  EXPECT_EQ(groff(v.run({"--help-man"}).out, "-z"), "");
}

TEST(cli_man, is_not_justified) {
  if (!has_groff()) GTEST_SKIP() << "needs groff";
  app program("vault", "keep things");
  program.root().describe("one two three " + std::string(65, 'x')).action([](std::ostream&) {
    return exit_code::ok;
  });
  std::ostringstream out;
  std::ostringstream err;
  const std::vector<std::string> arguments = {"--help-man"};
  ASSERT_EQ(program.run(arguments, out, err), exit_code::ok);
  EXPECT_THAT(groff(out.str(), "-P-c"), HasSubstr(" one two three\n"));
}

}  // namespace
}  // namespace xenpv::cli::test
