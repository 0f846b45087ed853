#include "dispatch.hpp"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace xenpv::multi_call {
namespace {

int run_nothing(int, char**) {
  return 0;
}

constexpr auto some_applets = std::to_array<applet>({
    {"xenpv-disk", "disk", "disks", run_nothing},
    {"xenpv-timer", "timer", "timers", run_nothing},
    {"xenpv-custodian", "", "", run_nothing},
});

/// Returns "NAME/SKIPPED", "own options" or "no UNKNOWN".
std::string selected_by(const std::vector<const char*>& arguments) {
  const auto selected = select_applet(some_applets, arguments);
  switch (selected.outcome) {
    case outcome::applet:
      return std::string(selected.applet->name) + '/' + std::to_string(selected.skipped);
    case outcome::own_options:
      return "own options";
    case outcome::unknown_applet:
      return "no " + std::string(selected.unknown);
  }
  return {};
}

TEST(multi_call_dispatch, takes_the_name_of_a_link) {
  EXPECT_EQ(selected_by({"xenpv-disk"}), "xenpv-disk/0");
  EXPECT_EQ(selected_by({"/usr/bin/xenpv-timer", "--version"}), "xenpv-timer/0");
  EXPECT_EQ(selected_by({"./xenpv-disk", "serve", "xvdb"}), "xenpv-disk/0");
}

TEST(multi_call_dispatch, ignores_the_mark_for_systemd) {
  EXPECT_EQ(selected_by({"@xenpv-disk", "serve"}), "xenpv-disk/0");
  EXPECT_EQ(selected_by({"@/usr/bin/xenpv-disk", "serve"}), "xenpv-disk/0");
  EXPECT_EQ(selected_by({"/bin/@xenpv-disk", "serve"}), "xenpv-disk/0");
  EXPECT_EQ(selected_by({"@xenpv", "disk", "serve"}), "xenpv-disk/1");
}

TEST(multi_call_dispatch, a_link_takes_precedence_over_the_first_argument) {
  EXPECT_EQ(selected_by({"xenpv-disk", "timer"}), "xenpv-disk/0");
}

TEST(multi_call_dispatch, takes_the_first_argument) {
  EXPECT_EQ(selected_by({"xenpv", "disk", "serve", "xvdb"}), "xenpv-disk/1");
  EXPECT_EQ(selected_by({"xenpv", "xenpv-timer"}), "xenpv-timer/1");
  EXPECT_EQ(selected_by({"/tmp/xenpv-0.1.0-amd64", "disk", "list"}), "xenpv-disk/1");
}

TEST(multi_call_dispatch, leaves_its_own_options) {
  EXPECT_EQ(selected_by({"xenpv"}), "own options");
  EXPECT_EQ(selected_by({"xenpv", "--help"}), "own options");
  EXPECT_EQ(selected_by({"xenpv", "--install", "/bin"}), "own options");
  EXPECT_EQ(selected_by({"/tmp/xenpv-0.1.0-amd64", "--list"}), "own options");
  // Only the first argument selects.
  EXPECT_EQ(selected_by({"xenpv", "--version", "disk"}), "own options");
}

TEST(multi_call_dispatch, runs_the_custodian_only_by_its_own_name) {
  EXPECT_EQ(selected_by({"xenpv-custodian", "--lock-memory"}), "xenpv-custodian/0");
  EXPECT_EQ(selected_by({"xenpv", "xenpv-custodian"}), "no xenpv-custodian");
  EXPECT_EQ(selected_by({"xenpv", ""}), "no ");
}

TEST(multi_call_dispatch, reports_unknown_applets) {
  EXPECT_EQ(selected_by({"xenpv", "disks"}), "no disks");
  EXPECT_EQ(selected_by({"xenpv-disks"}), "no xenpv-disks");
  EXPECT_EQ(selected_by({"xenpv", "xenpv"}), "no xenpv");
}

TEST(multi_call_dispatch, accepts_a_command_line_without_a_name) {
  EXPECT_EQ(selected_by({}), "own options");
  EXPECT_EQ(selected_by({""}), "own options");
  EXPECT_EQ(selected_by({"/"}), "own options");
  EXPECT_EQ(selected_by({"@"}), "own options");
}

TEST(multi_call_dispatch, lists_only_programs_for_users) {
  EXPECT_EQ(listed_names(some_applets), "xenpv-disk, xenpv-timer");
}

}  // namespace
}  // namespace xenpv::multi_call
