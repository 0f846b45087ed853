#include "xenpv/base/log.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace xenpv {
namespace {

using testing::MatchesRegex;

/// Returns the text that `act` writes to stderr.
std::string logged(log_level level, log_format format, const std::function<void()>& act) {
  testing::internal::CaptureStderr();
  set_up_log("xenpv-test", level, format);
  act();
  return testing::internal::GetCapturedStderr();
}

TEST(log, writes_plain_text) {
  EXPECT_EQ(
      logged(log_level::info, log_format::text, [] { log().warn("device/vbd/{}: slow", 51712); }),
      "xenpv-test: warning: device/vbd/51712: slow\n");
}

TEST(log, drops_messages_below_its_level) {
  const auto everything = [] {
    log().debug("d");
    log().info("i");
    log().warn("w");
    log().error("e");
  };
  EXPECT_EQ(logged(log_level::error, log_format::text, everything), "xenpv-test: error: e\n");
  EXPECT_EQ(logged(log_level::warning, log_format::text, everything),
            "xenpv-test: warning: w\nxenpv-test: error: e\n");
  EXPECT_EQ(logged(log_level::info, log_format::text, everything),
            "xenpv-test: info: i\nxenpv-test: warning: w\nxenpv-test: error: e\n");
  EXPECT_EQ(logged(log_level::debug, log_format::text, everything),
            "xenpv-test: debug: d\nxenpv-test: info: i\nxenpv-test: warning: w\n"
            "xenpv-test: error: e\n");
}

TEST(log, writes_one_json_object_per_line) {
  EXPECT_THAT(
      logged(log_level::info, log_format::json, [] { log().error("lost"); }),
      MatchesRegex("\\{\"time\":\"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}"
                   "[+-][0-9]{2}:[0-9]{2}\",\"level\":\"error\",\"program\":\"xenpv-test\","
                   "\"message\":\"lost\"\\}\n"));
}

TEST(log, escapes_special_characters_in_json) {
  const auto line = logged(log_level::info, log_format::json,
                           [] { log().info("{}", "say \"hi\" C:\\ \n\t\x1B\x7F \xC3\xA4"); });
  EXPECT_THAT(line, testing::EndsWith("\"message\":\"say \\\"hi\\\" C:\\\\ \\u000a\\u0009\\u001b"
                                      "\\u007f \xC3\xA4\"}\n"));
}

TEST(log, writes_foreign_text_as_one_safe_line) {
  // A forged line, C0, C1 (CSI), a bidi override and invalid UTF-8.
  const auto act = [] {
    log().info("client {}",
               "x\nxenpv-test: error: \x1B[2J\xC2\x9B"
               "31m\xE2\x80\xAEy\xFF");
  };
  EXPECT_EQ(logged(log_level::info, log_format::text, act),
            "xenpv-test: info: client "
            "x\\x0axenpv-test: error: \\x1b[2J\\xc2\\x9b31m\\xe2\\x80\\xaey\\xff\n");
  EXPECT_THAT(logged(log_level::info, log_format::json, act),
              testing::EndsWith("\"message\":\"client x\\u000axenpv-test: error: \\u001b[2J"
                                "\\u009b31m\\u202ey\\ufffd\"}\n"));
}

TEST(log, replaces_bytes_that_are_not_utf8_in_json) {
  const auto line =
      logged(log_level::info, log_format::json, [] { log().info("{}", "a\xFFz \xE2\x82"); });
  EXPECT_THAT(line, testing::EndsWith("\"message\":\"a\\ufffdz \\ufffd\\ufffd\"}\n"));
}

}  // namespace
}  // namespace xenpv
