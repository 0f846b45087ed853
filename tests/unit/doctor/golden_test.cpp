// The doctor's verdicts on captures from public reports: NAME.verdicts beside a capture lists every
// row that an expert expects, with its verdict, summary and remedy. A change of any of them is
// visible here.
//
// XENPV_UPDATE_VERDICTS=1 rewrites the files, for review with the version control system. The test
// then fails, because it has compared nothing.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "unit/doctor/checks_rig.hpp"

namespace xenpv::doctor {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> names_of(std::string_view prefix, std::string_view extension) {
  std::vector<std::string> out;
  for (const auto& entry : fs::directory_iterator(XENPV_TEST_CAPTURES)) {
    const auto name = entry.path().stem().string();
    if (entry.path().extension() == extension && name.starts_with(prefix)) out.push_back(name);
  }
  std::ranges::sort(out);
  return out;
}

fs::path verdicts_path(const std::string& name) {
  return fs::path(XENPV_TEST_CAPTURES) / (name + ".verdicts");
}

std::string expected_verdicts(const std::string& name) {
  std::ifstream file(verdicts_path(name), std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string verdicts_of(const std::string& name) {
  std::string out;
  for (const auto& row : run_checks(test::snapshot_of(name))) {
    out += fmt::format("{:<7} {}: {}\n", to_string(row.verdict), row.id, row.summary);
    if (!row.remedy.empty()) out += fmt::format("        remedy: {}\n", row.remedy);
  }
  return out;
}

class golden_capture : public testing::TestWithParam<std::string> {};

TEST_P(golden_capture, has_the_verdicts_of_an_expert) {
  const auto verdicts = verdicts_of(GetParam());
  if (std::getenv("XENPV_UPDATE_VERDICTS") != nullptr) {
    std::ofstream(verdicts_path(GetParam()), std::ios::binary) << verdicts;
    FAIL() << "rewrote " << verdicts_path(GetParam()) << ": review it, and run the test without "
           << "XENPV_UPDATE_VERDICTS";
  }
  EXPECT_EQ(verdicts, expected_verdicts(GetParam()));
}

std::string test_name(const testing::TestParamInfo<std::string>& info) {
  auto out = info.param;
  std::ranges::replace_if(
      out, [](char character) { return std::isalnum(static_cast<unsigned char>(character)) == 0; },
      '_');
  return out;
}

INSTANTIATE_TEST_SUITE_P(, golden_capture, testing::ValuesIn(names_of("", ".verdicts")), test_name);

TEST(golden_captures, from_public_reports_name_their_source_and_have_verdicts) {
  const auto names = names_of("field-", ".txt");
  EXPECT_GE(names.size(), 30U);
  for (const auto& name : names) {
    EXPECT_TRUE(xenpv::test::capture_text(name).starts_with("# Source: ")) << name;
    EXPECT_FALSE(expected_verdicts(name).empty()) << name;
  }
}

/// An unknown verdict without evidence or a remedy does not help.
TEST(golden_captures, have_evidence_and_remedies) {
  for (const auto& name : names_of("", ".verdicts"))
    for (const auto& row : run_checks(test::snapshot_of(name))) {
      EXPECT_FALSE(row.evidence.empty()) << name << ", " << row.id;
      EXPECT_TRUE(row.verdict == health::pass || !row.remedy.empty()) << name << ", " << row.id;
    }
}

}  // namespace
}  // namespace xenpv::doctor
