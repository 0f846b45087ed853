#include "xenpv/base/error.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <string>

namespace xenpv {
namespace {

std::string message_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const failure& e) {
    return e.what();
  }
  return "no exception";
}

TEST(error, has_a_message_for_every_code) {
  const std::pair<errc, const char*> messages[] = {
      {errc::invalid_argument, "invalid argument"},
      {errc::protocol_violation, "protocol violation"},
      {errc::not_available, "not available here"},
      {errc::limit_reached, "limit reached"},
      {errc::lost_connection, "connection lost"},
      {errc::resumed, "the guest was saved and restored"},
      {errc::timed_out, "timed out"},
  };
  for (const auto& [code, expected] : messages)
    EXPECT_EQ(make_error_code(code).message(), expected);
  EXPECT_EQ(std::error_code(99, category()).message(), "unknown error 99");
  EXPECT_STREQ(category().name(), "xenpv");
}

TEST(error, codes_are_never_success) {
  EXPECT_TRUE(make_error_code(errc::invalid_argument));
  const std::error_code converted = errc::timed_out;
  EXPECT_EQ(converted, make_error_code(errc::timed_out));
}

TEST(failure, formats_operation_reason_and_remedy) {
  const failure with_remedy(errc::limit_reached, "share 353 pages with domain 0",
                            "raise the gntalloc limit");
  EXPECT_STREQ(with_remedy.what(),
               "share 353 pages with domain 0: limit reached (raise the gntalloc limit)");
  EXPECT_EQ(with_remedy.code(), errc::limit_reached);
  EXPECT_STREQ(failure(errc::timed_out, "connect").what(), "connect: timed out");
}

TEST(failure, keeps_the_text_of_an_error) {
  const auto e = make_error(errc::protocol_violation, "slot 5", "the backend is broken");
  EXPECT_EQ(e.text, "slot 5: protocol violation (the backend is broken)");
  const failure thrown(e);
  EXPECT_EQ(thrown.what(), e.text);
  EXPECT_EQ(thrown.code(), errc::protocol_violation);
}

TEST(failure, names_errno_in_lower_case) {
  EXPECT_EQ(message_of([] { throw_errno(ENOENT, "open /dev/xen/evtchn"); }),
            "open /dev/xen/evtchn: no such file or directory");
  EXPECT_EQ(message_of([] {
              errno = EACCES;
              throw_errno("open /dev/xen/evtchn", "run as root");
            }),
            "open /dev/xen/evtchn: permission denied (run as root)");
  EXPECT_EQ(describe_errno(EBUSY), "device or resource busy");
}

TEST(failure, leaves_acronyms_in_capitals) {
  EXPECT_EQ(describe_errno(ENXIO), "no such device or address");
  EXPECT_EQ(describe_errno(EMULTIHOP), "multihop attempted");
  EXPECT_EQ(describe_errno(ELIBBAD), "accessing a corrupted shared library");
  EXPECT_EQ(describe_errno(EL2HLT), "level 2 halted");
  EXPECT_EQ(describe_errno(ENOCSI), "no CSI structure available");
  EXPECT_EQ(describe_errno(EBADRQC), "invalid request code");
  EXPECT_EQ(describe_errno(EBFONT), "bad font file format");
  EXPECT_EQ(describe_errno(ENOTUNIQ), "name not unique on network");
  EXPECT_EQ(describe_errno(EREMOTEIO), "remote I/O error");
  EXPECT_EQ(describe_errno(ERFKILL), "operation not possible due to RF-kill");
  EXPECT_EQ(describe_errno(ESRMNT), "srmount error");
  EXPECT_EQ(describe_errno(EDOTDOT), "RFS specific error");
}

TEST(result, value_of_an_error_throws_its_text) {
  const result<int> bad = make_error(errc::invalid_argument, "--n 'x'", "expected a number");
  EXPECT_EQ(message_of([&] { (void)bad.value(); }),
            "--n 'x': invalid argument (expected a number)");
}

}  // namespace
}  // namespace xenpv
