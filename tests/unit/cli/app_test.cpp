#include "cli/app.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "unit/cli/run_app.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::cli::test {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

outcome run_failing(std::function<void()> body) {
  vault v;
  v.fail = std::move(body);
  return v.run({"fail"});
}

TEST(cli_app, reports_a_failure_with_status_1) {
  const auto [status, out, err] = run_failing([] {
    throw failure(std::error_code(EACCES, std::generic_category()), "open /dev/xen/evtchn",
                  "run as root");
  });
  EXPECT_EQ(status, exit_code::failed);
  EXPECT_EQ(out, "");
  EXPECT_EQ(err, "vault: open /dev/xen/evtchn: permission denied (run as root)\n");
}

TEST(cli_app, reports_missing_support_with_status_77) {
  const auto [status, out, err] =
      run_failing([] { throw failure(errc::not_available, "read /proc/xen"); });
  EXPECT_EQ(status, exit_code::not_possible);
  EXPECT_EQ(err, "vault: read /proc/xen: not available here\n");
}

TEST(cli_app, reports_an_invalid_argument_of_the_action_as_a_usage_error) {
  const auto [status, out, err] =
      run_failing([] { throw failure(errc::invalid_argument, "domain '9'", "no such domain"); });
  EXPECT_EQ(status, exit_code::usage);
  EXPECT_EQ(err, "vault: domain '9': invalid argument (no such domain)\ntry 'vault fail --help'\n");
}

TEST(cli_app, reports_any_other_exception_with_status_1) {
  const auto [status, out, err] = run_failing([] { throw std::runtime_error("broken pipe"); });
  EXPECT_EQ(status, exit_code::failed);
  EXPECT_EQ(err, "vault: broken pipe\n");
}

TEST(cli_app, reports_a_failure_as_json_if_the_log_is_json) {
  vault v;
  v.fail = [] {
    throw failure(std::error_code(EACCES, std::generic_category()), "open \"/dev/xen\"",
                  "run as root");
  };
  const auto [status, out, err] = v.run({"fail", "--log", "json"});
  EXPECT_EQ(status, exit_code::failed);
  const auto line = nlohmann::json::parse(err);
  EXPECT_EQ(line.at("level"), "error");
  EXPECT_EQ(line.at("program"), "vault");
  EXPECT_EQ(line.at("message"), "open \"/dev/xen\": permission denied (run as root)");
  EXPECT_THAT(err, EndsWith("}\n"));
}

TEST(cli_app, reports_an_invalid_command_line_as_json_if_it_asks_for_json) {
  for (const auto& line : std::vector<std::vector<std::string>>{
           {"run", "--log", "json", "--colour"}, {"--log=json", "run", "--colour"}}) {
    vault v;
    const auto [status, out, err] = v.run(line);
    EXPECT_EQ(status, exit_code::usage);
    EXPECT_EQ(nlohmann::json::parse(err).at("message"),
              "unknown option '--colour' (try 'vault run --help')");
  }
  vault v;
  EXPECT_EQ(v.run({"run", "--colour", "--", "--log=json"}).err,
            "vault: unknown option '--colour'\ntry 'vault run --help'\n");
}

TEST(cli_app, fails_if_output_cannot_be_written) {
  app program("p", "print");
  program.root().action([](std::ostream& out) {
    out << "data";
    out.setstate(std::ios::badbit);
    return exit_code::ok;
  });
  std::ostringstream out;
  std::ostringstream err;
  EXPECT_EQ(program.run({}, out, err), exit_code::failed);
  EXPECT_EQ(err.str(), "p: cannot write to standard output\n");
}

TEST(cli_app, supports_other_exit_statuses_for_failures) {
  vault v;
  v.use_check_statuses();
  EXPECT_EQ(static_cast<int>(v.run({"fail", "--nonsense"}).status), 64);
  v.fail = [] { throw failure(errc::invalid_argument, "open the vault"); };
  EXPECT_EQ(static_cast<int>(v.run({"fail"}).status), 64);
  v.fail = [] { throw failure(errc::lost_connection, "open the vault"); };
  EXPECT_EQ(static_cast<int>(v.run({"fail"}).status), 70);
  v.fail = [] { throw std::runtime_error("rust"); };
  EXPECT_EQ(static_cast<int>(v.run({"fail"}).status), 70);
  v.fail = [] { throw failure(errc::not_available, "open the vault"); };
  EXPECT_EQ(v.run({"fail"}).status, exit_code::not_possible);
  const auto page = v.run({"--help-man"}).out;
  EXPECT_THAT(page, testing::HasSubstr(".SH EXIT STATUS\n.TP\n.B 0\nNo alarm.\n.TP\n.B 2\nAlarm.\n"
                                       ".TP\n.B 70\n"));
  EXPECT_THAT(page, testing::HasSubstr(".B 64\nThe command line is invalid; nothing was done.\n"));
}

TEST(cli_app, runs_from_main_without_any_arguments) {
  app program("p", "print");
  bool ran = false;
  program.root().action([&](std::ostream&) {
    ran = true;
    return exit_code::ok;
  });
  const char* const argv[] = {nullptr};
  EXPECT_EQ(program.run(0, argv), 0);
  EXPECT_TRUE(ran);
}

TEST(cli_app, shows_the_version) {
  vault v;
  const auto [status, out, err] = v.run({"--version"});
  EXPECT_EQ(status, exit_code::ok);
  EXPECT_THAT(out, testing::MatchesRegex("vault [0-9]+\\.[0-9]+\\.[0-9]+\n"
                                         "commit: ([0-9a-f]+(, with changes)?|unknown)\n"
                                         "built with: (g\\+\\+|clang) [^\n]*, Boost 1\\.[^\n]*\n"
                                         "loaded: [^\n]+\n"));
  EXPECT_THAT(out, HasSubstr("nlohmann_json 3."));
}

TEST(cli_app, shows_help_of_the_program) {
  vault v;
  const auto [status, out, err] = v.run({"--help"});
  EXPECT_EQ(status, exit_code::ok);
  EXPECT_EQ(err, "");
  EXPECT_EQ(out,
            "vault: store things in a vault\n"
            "\n"
            "Usage: vault [OPTIONS] COMMAND\n"
            "\n"
            "A vault stores things for its owner.\n"
            "\n"
            "Commands:\n"
            "  run   run a command in the vault\n"
            "  item  manage the contents\n"
            "  fail  fail\n"
            "\n"
            "Options:\n"
            "  -h, --help             show this text and exit\n"
            "      --version          show the version, commit and libraries, and exit\n"
            "      --log FORMAT       log as text, or as json: one object per line (default:\n"
            "                         text)\n"
            "      --log-level LEVEL  minimum severity to log: error, warning, info or debug\n"
            "                         (default: info)\n"
            "\n"
            "The manual page vault(1) covers all commands.\n");
}

TEST(cli_app, shows_help_of_a_command_for_an_otherwise_invalid_line) {
  for (const auto& line : std::vector<std::vector<std::string>>{
           {"run", "--help"}, {"--help", "run"}, {"run", "--wait", "soon", "-h", "--what"}}) {
    vault v;
    const auto [status, out, err] = v.run(line);
    EXPECT_EQ(status, exit_code::ok);
    EXPECT_THAT(out, StartsWith("vault run: run a command in the vault\n"
                                "\n"
                                "Usage: vault run [OPTIONS] -- COMMAND [ARGUMENT...]\n"
                                "\n"
                                "Runs COMMAND with the doors closed.\n"
                                "\n"
                                "Options:\n"
                                "  -d, --door SPEC  add a door (may be given several times)\n"));
    EXPECT_THAT(out, HasSubstr("      --wait TIME  how long the doors stay closed (default: 5s)\n"
                               "      --guests N   number of guests\n"
                               "  -q, --quiet      print nothing\n"
                               "\n"
                               "Options of vault:\n"));
    EXPECT_THAT(out, EndsWith("Examples:\n"
                              "  List the contents:\n"
                              "    vault run -d small -- ls -l\n"
                              "\n"
                              "The manual page vault(1) covers all commands.\n"));
  }
}

TEST(cli_app, shows_arguments_in_the_help) {
  vault v;
  const auto out = v.run({"item", "remove", "--help"}).out;
  EXPECT_THAT(out, HasSubstr("Usage: vault item remove [OPTIONS] --key DOMAIN NAME [REASON...]\n"));
  EXPECT_THAT(out, HasSubstr("Arguments:\n"
                             "  NAME         the thing\n"
                             "  [REASON...]  why\n"));
  EXPECT_THAT(out, HasSubstr("      --key DOMAIN  domain of the key (required)\n"));
}

TEST(cli_app, rejects_an_option_without_a_long_name) {
  app program("p", "print");
  bool enabled = false;
  EXPECT_THROW(program.root().flag("-x", enabled, "Bad."), std::logic_error);
  std::string text;
  EXPECT_THROW(program.root().option("--name", text, "Bad.", as_text), std::logic_error);
}

TEST(cli_app, rejects_an_invalid_default) {
  app program("p", "print");
  unsigned number = 0;
  EXPECT_THROW(program.root().option("--n N", number, "N.", whole_number<unsigned>(1, 2),
                                     {.by_default = "3"}),
               failure);
}

}  // namespace
}  // namespace xenpv::cli::test
