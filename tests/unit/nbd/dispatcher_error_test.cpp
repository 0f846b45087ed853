// Failing requests, and the errors that the clients get.
#include <gtest/gtest.h>

#include <cerrno>

#include "dispatcher_rig.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::nbd {
namespace {

using namespace test;

std::error_code code_of(int value) {
  return {value, std::generic_category()};
}

TEST(dispatcher_errors, maps_errors_of_the_device_to_protocol_errors) {
  const std::vector<std::pair<std::error_code, std::string>> table = {
      {code_of(EIO), "EIO"},
      {code_of(EROFS), "EPERM"},
      {code_of(ENOMEDIUM), "EIO"},
      {code_of(EINVAL), "EINVAL"},
      {code_of(ENOSPC), "ENOSPC"},
      {code_of(ENOMEM), "ENOMEM"},
      {code_of(EOPNOTSUPP), "EINVAL"},
      {code_of(ECANCELED), "ESHUTDOWN"},
      {errc::timed_out, "EIO"},
      {errc::lost_connection, "EIO"},
      {errc::protocol_violation, "EIO"},
  };
  for (const auto& [status, reply] : table) {
    dispatcher_rig rig;
    rig.queue.fails = [failure = status](const blk::request&) { return failure; };
    (void)rig.begin({nbd_command::read, 1, 0, 512});
    rig.write({nbd_command::write, 2, 0, 512}, pattern(512));
    (void)rig.begin({nbd_command::write_zeroes, 3, 0, 512});
    (void)rig.begin({nbd_command::flush, 4});
    rig.queue.answer_all();
    EXPECT_EQ(rig.replies(), (lines{"1 " + reply, "2 " + reply, "3 " + reply, "4 " + reply}))
        << status.message();
    EXPECT_EQ(rig.dispatch().statistics().errors, 4U);
    EXPECT_EQ(rig.dispatch().statistics().bytes_read, 0U);
  }
}

TEST(dispatcher_errors, succeeds_for_a_trim_that_the_device_does_not_support) {
  dispatcher_rig rig;
  rig.queue.fails = [](const blk::request& r) {
    return r.op == blk::operation::discard ? code_of(EOPNOTSUPP) : std::error_code{};
  };
  (void)rig.begin({nbd_command::trim, 1, 0, 4096});
  rig.queue.answer();
  EXPECT_EQ(rig.replies(), lines{"1 ok"});
  (void)rig.begin({nbd_command::trim, 2, 0, 4096, fua});
  rig.queue.answer_all();
  EXPECT_EQ(rig.queue.log.back(), "flush");
  EXPECT_EQ(rig.replies(), lines{"2 ok"});
}

TEST(dispatcher_errors, reports_other_errors_of_a_trim) {
  dispatcher_rig rig;
  rig.queue.fails = [](const blk::request&) { return code_of(EIO); };
  (void)rig.begin({nbd_command::trim, 1, 0, 4096, fua});
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies(), lines{"1 EIO"});
  EXPECT_EQ(rig.queue.submitted, 1U) << "there is nothing to flush";
}

TEST(dispatcher_errors, refuses_fast_zeroes_without_a_device_request) {
  dispatcher_rig rig;
  (void)rig.begin({nbd_command::write_zeroes, 1, 0, 4096, wire::nbd_cmd_flag_fast_zero});
  EXPECT_EQ(rig.replies(), lines{"1 ENOTSUP"});
  EXPECT_EQ(rig.queue.submitted, 0U);
}

TEST(dispatcher_errors, fails_a_write_of_several_pieces_with_its_first_error_and_no_flush) {
  dispatcher_rig rig;
  rig.queue.fails = [](const blk::request& r) {
    if (r.offset == 0) return code_of(ENOSPC);
    return r.offset == 512 * kib ? code_of(EIO) : std::error_code{};
  };
  rig.write({nbd_command::write, 1, 0, 600 * kib, fua}, pattern(600 * kib));
  rig.queue.answer();
  EXPECT_EQ(rig.replies(), lines{}) << "other pieces still use the memory";
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies(), lines{"1 ENOSPC"});
  EXPECT_EQ(rig.queue.submitted, 3U);
  EXPECT_EQ(rig.dispatch().statistics().bytes_written, 0U);
}

TEST(dispatcher_errors, ends_zeroes_at_the_first_error) {
  dispatcher_rig rig({.size = 8192 * kib});
  rig.queue.fails = [](const blk::request& r) {
    return r.offset == 512 * kib ? code_of(EIO) : std::error_code{};
  };
  (void)rig.begin({nbd_command::write_zeroes, 1, 0, 8192 * kib, fua});
  rig.queue.answer(2);
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies(), lines{"1 EIO"});
  EXPECT_EQ(rig.queue.submitted, 4U);
}

TEST(dispatcher_errors, fails_a_request_whose_flush_for_fua_fails) {
  dispatcher_rig rig;
  rig.queue.fails = [](const blk::request& r) {
    return r.op == blk::operation::flush ? code_of(EIO) : std::error_code{};
  };
  rig.write({nbd_command::write, 1, 0, 300 * kib, fua}, pattern(300 * kib));
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies(), lines{"1 EIO"});
}

TEST(dispatcher_errors, ends_a_write_whose_payload_does_not_arrive) {
  dispatcher_rig rig;
  auto* const op = rig.begin({nbd_command::write, 1, 0, 8192});
  ASSERT_NE(op, nullptr);
  EXPECT_TRUE(rig.receive(*op, pattern(5000)));
  rig.dispatch().abandon_payload(*op);
  EXPECT_EQ(rig.replies(), lines{"1 EIO"});
  EXPECT_EQ(rig.queue.submitted, 0U) << "an incomplete payload is not written";
}

TEST(dispatcher_errors, ends_a_write_with_an_incomplete_payload_once_its_pieces_complete) {
  dispatcher_rig rig;
  auto* const op = rig.begin({nbd_command::write, 1, 0, 600 * kib, fua});
  ASSERT_NE(op, nullptr);
  EXPECT_TRUE(rig.receive(*op, pattern(300 * kib)));
  rig.dispatch().commit();
  rig.dispatch().abandon_payload(*op);
  EXPECT_EQ(rig.replies(), lines{}) << "the device is still processing a piece";
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies(), lines{"1 EIO"});
  EXPECT_EQ(rig.queue.submitted, 1U);
}

TEST(dispatcher_errors, ends_long_requests_early_when_the_client_disconnects) {
  dispatcher_rig rig({.size = 8192 * kib});
  (void)rig.begin({nbd_command::write_zeroes, 1, 0, 8192 * kib, fua});
  rig.queue.answer();
  rig.dispatch().commit();
  EXPECT_EQ(rig.queue.submitted, 5U);
  rig.dispatch().abandon();
  rig.queue.answer_all();
  EXPECT_EQ(rig.queue.submitted, 5U);
  EXPECT_EQ(rig.replies(), lines{"1 ESHUTDOWN"}) << "it was not fully executed";
}

TEST(dispatcher_errors, sends_the_reason_in_structured_replies) {
  dispatcher_rig rig({}, {.structured = true});
  rig.queue.fails = [](const blk::request& r) {
    return r.offset == 0 ? code_of(EIO) : std::error_code{};
  };
  (void)rig.begin({nbd_command::read, 1, 1 << 20, 512});
  (void)rig.begin({nbd_command::write, 2, 1 << 20, 512});
  (void)rig.begin({static_cast<nbd_command>(100), 3, 0, 0});
  (void)rig.begin({nbd_command::read, 4, 0, 512});
  (void)rig.begin({nbd_command::read, 5, 4096, 512});
  (void)rig.begin({nbd_command::read, 6, 4096, 0});
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies(), (lines{"1 EINVAL: beyond the end of the export",
                                  "2 ENOSPC: beyond the end of the export",
                                  "3 EINVAL: unknown command", "6 done", "4 EIO", "5 data 512"}));
  EXPECT_EQ(rig.data_offset(), 4096U);
}

}  // namespace
}  // namespace xenpv::nbd
