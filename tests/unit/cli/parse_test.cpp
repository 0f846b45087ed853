#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/cli/run_app.hpp"

namespace xenpv::cli::test {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;

TEST(cli_parse, stores_options_in_every_spelling) {
  vault v;
  EXPECT_EQ(v.run({"run", "-d", "one", "--door", "two", "--door=three", "-dfour", "--wait=2min",
                   "--guests", "3", "-q", "--", "ls"})
                .status,
            exit_code::ok);
  EXPECT_THAT(v.doors, ElementsAre("one", "two", "three", "four"));
  EXPECT_EQ(v.wait, seconds(120));
  EXPECT_EQ(v.guests, 3U);
  EXPECT_TRUE(v.quiet);
}

TEST(cli_parse, keeps_defaults_without_options) {
  vault v;
  EXPECT_EQ(v.run({"run", "--", "ls"}).status, exit_code::ok);
  EXPECT_THAT(v.doors, IsEmpty());
  EXPECT_EQ(v.wait, seconds(5));
  EXPECT_EQ(v.guests, std::nullopt);
  EXPECT_FALSE(v.quiet);
}

TEST(cli_parse, passes_the_inner_command_unchanged) {
  vault v;
  EXPECT_EQ(v.run({"run", "--", "sh", "--door", "-q", "--help", "--version", "[a,b]", "", "--",
                   "--long-options"})
                .status,
            exit_code::ok);
  EXPECT_THAT(v.inner, ElementsAre("sh", "--door", "-q", "--help", "--version", "[a,b]", "", "--",
                                   "--long-options"));
  EXPECT_THAT(v.doors, IsEmpty());
  EXPECT_FALSE(v.quiet);
}

TEST(cli_parse, returns_the_status_of_the_inner_command) {
  vault v;
  v.inner_status = 42;
  EXPECT_EQ(static_cast<int>(v.run({"run", "--", "x"}).status), 42);
}

TEST(cli_parse, takes_special_characters_in_values_literally) {
  vault v;
  v.run({"run", "--door", "[a,b]", "--door", "-q", "--door=", "--door", "x=y", "--door", "%%", "--",
         "x"});
  EXPECT_THAT(v.doors, ElementsAre("[a,b]", "-q", "", "x=y", "%%"));
  EXPECT_FALSE(v.quiet);
  EXPECT_THAT(v.inner, ElementsAre("x"));
}

TEST(cli_parse, takes_positional_arguments_after_a_double_dash) {
  vault v;
  EXPECT_EQ(v.run({"item", "remove", "--key", "7", "--", "-odd-", "list", "--why"}).status,
            exit_code::ok);
  EXPECT_EQ(v.name, "-odd-");
  EXPECT_THAT(v.reasons, ElementsAre("list", "--why"));
  EXPECT_EQ(v.key, domid{7});
}

TEST(cli_parse, takes_a_positional_argument_named_like_a_command) {
  vault v;
  EXPECT_EQ(v.run({"item", "remove", "--key=0", "run"}).status, exit_code::ok);
  EXPECT_EQ(v.name, "run");
}

TEST(cli_parse, takes_common_options_before_and_after_the_command) {
  vault before;
  EXPECT_EQ(before.run({"--log", "json", "item", "list", "--json"}).out, "a thing\n");
  EXPECT_TRUE(before.json_output);
  vault after;
  EXPECT_EQ(after.run({"item", "list", "--log-level=debug"}).status, exit_code::ok);
  EXPECT_FALSE(after.json_output);
}

struct wrong_line {
  const char* name;
  std::vector<std::string> arguments;
  std::string err;
};

void PrintTo(const wrong_line& line, std::ostream* out) {
  *out << line.name;
}

class cli_usage : public testing::TestWithParam<wrong_line> {};

TEST_P(cli_usage, is_rejected_with_a_hint_to_try_help) {
  vault v;
  const auto [status, out, err] = v.run(GetParam().arguments);
  EXPECT_EQ(status, exit_code::usage);
  EXPECT_EQ(out, "");
  EXPECT_EQ(err, GetParam().err);
}

INSTANTIATE_TEST_SUITE_P(
    lines, cli_usage,
    testing::Values(
        wrong_line{"nothing",
                   {},
                   "vault: missing command (one of: run, item, fail)\n"
                   "try 'vault --help'\n"},
        wrong_line{"unknown_command",
                   {"open"},
                   "vault: unknown command 'open' (known: run, item, fail)\n"
                   "try 'vault --help'\n"},
        wrong_line{"unknown_nested_command",
                   {"item", "open"},
                   "vault: unknown command 'open' (known: list, remove)\n"
                   "try 'vault item --help'\n"},
        wrong_line{"misspelt_command",
                   {"itme", "list"},
                   "vault: unknown command 'itme' (known: run, item, fail; did you mean 'item'?)\n"
                   "try 'vault --help'\n"},
        wrong_line{"missing_nested_command",
                   {"item"},
                   "vault: missing command (one of: list, remove)\n"
                   "try 'vault item --help'\n"},
        wrong_line{"unknown_option",
                   {"run", "--colour=red", "--", "x"},
                   "vault: unknown option '--colour'\ntry 'vault run --help'\n"},
        wrong_line{"misspelt_option",
                   {"run", "--dor=red", "--", "x"},
                   "vault: unknown option '--dor'; did you mean '--door'?\n"
                   "try 'vault run --help'\n"},
        wrong_line{"option_with_one_hyphen",
                   {"item", "list", "-json"},
                   "vault: unknown option '-json'; did you mean '--json'?\n"
                   "try 'vault item list --help'\n"},
        wrong_line{"misspelt_option_of_the_program",
                   {"item", "list", "--log-levle", "debug"},
                   "vault: unknown option '--log-levle'; did you mean '--log-level'?\n"
                   "try 'vault item list --help'\n"},
        wrong_line{"unknown_short_option",
                   {"item", "list", "-z"},
                   "vault: unknown option '-z'\ntry 'vault item list --help'\n"},
        wrong_line{"missing_value",
                   {"run", "--door"},
                   "vault: option --door requires a value\ntry 'vault run --help'\n"},
        wrong_line{"value_for_a_flag",
                   {"run", "--quiet=no", "--", "x"},
                   "vault: option --quiet takes no value\ntry 'vault run --help'\n"},
        wrong_line{"given_twice",
                   {"run", "--wait", "1s", "--wait", "2s", "--", "x"},
                   "vault: option --wait may be given only once\ntry 'vault run --help'\n"},
        wrong_line{"bad_value",
                   {"run", "--wait", "soon", "--", "x"},
                   "vault: --wait 'soon': invalid argument (expected a time with a unit (ns, us, "
                   "ms, s, min, h, d), such as 0.5s)\ntry 'vault run --help'\n"},
        wrong_line{"out_of_range",
                   {"run", "--guests", "9", "--", "x"},
                   "vault: --guests '9': invalid argument (expected a whole number from 1 to 8)\n"
                   "try 'vault run --help'\n"},
        wrong_line{"bad_choice",
                   {"--log", "xml", "item", "list"},
                   "vault: --log 'xml': invalid argument (expected text or json)\n"
                   "try 'vault item list --help'\n"},
        wrong_line{"misspelt_choice",
                   {"--log-level", "eror", "item", "list"},
                   "vault: --log-level 'eror': invalid argument (expected error, warning, info or "
                   "debug; did you mean 'error'?)\ntry 'vault item list --help'\n"},
        wrong_line{"bad_choice_of_many",
                   {"--log-level=", "item", "list"},
                   "vault: --log-level '': invalid argument (expected error, warning, info or "
                   "debug)\ntry 'vault item list --help'\n"},
        wrong_line{"required_option",
                   {"item", "remove", "it"},
                   "vault: missing option --key DOMAIN\ntry 'vault item remove --help'\n"},
        wrong_line{"required_argument",
                   {"item", "remove", "--key", "1"},
                   "vault: missing argument NAME\ntry 'vault item remove --help'\n"},
        wrong_line{"extra_argument",
                   {"item", "list", "all"},
                   "vault: unexpected argument 'all'\ntry 'vault item list --help'\n"},
        wrong_line{"no_inner_command",
                   {"run"},
                   "vault: missing command to run after '--'\ntry 'vault run --help'\n"},
        wrong_line{"empty_inner_command",
                   {"run", "--"},
                   "vault: missing command to run after '--'\ntry 'vault run --help'\n"},
        wrong_line{"inner_command_without_mark",
                   {"run", "ls"},
                   "vault: unexpected argument 'ls' (put the command to run after '--')\n"
                   "try 'vault run --help'\n"}),
    [](const auto& instance) { return std::string(instance.param.name); });

TEST(cli_parse, stores_nothing_from_an_invalid_line) {
  vault v;
  v.run({"run", "--door", "one", "--colour", "--", "x"});
  EXPECT_THAT(v.doors, IsEmpty());
  EXPECT_THAT(v.inner, IsEmpty());
}

}  // namespace
}  // namespace xenpv::cli::test
