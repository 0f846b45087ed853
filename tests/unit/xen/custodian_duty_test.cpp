#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/xen/pipe.hpp"
#include "xen/custodian_process.hpp"

namespace xenpv::xen {
namespace {

using test::is_hung_up;
using test::make_pipe;

std::uint64_t keep(custodian_duty& duty, unique_fd descriptor) {
  const auto reply = duty.handle(keep_request{}, std::move(descriptor));
  EXPECT_EQ(reply.refusal, 0);
  return reply.value;
}

TEST(custodian_duty, refuses_to_keep_when_no_descriptor_came) {
  custodian_duty duty;
  const auto reply = duty.handle(keep_request{}, unique_fd());
  EXPECT_EQ(reply.refusal, static_cast<int>(errc::limit_reached));
  EXPECT_EQ(reply.reason, "its descriptor table is full: raise ulimit -n");
}

TEST(custodian_duty, closes_what_is_released_and_nothing_else) {
  custodian_duty duty;
  auto first = make_pipe();
  auto second = make_pipe();
  const auto id = keep(duty, std::move(first.write));
  keep(duty, std::move(second.write));
  EXPECT_EQ(duty.handle(release_request{id}, {}), custodian_reply{});
  EXPECT_TRUE(is_hung_up(first.read));
  EXPECT_FALSE(is_hung_up(second.read));
}

TEST(custodian_duty, refuses_to_release_twice) {
  custodian_duty duty;
  auto ends = make_pipe();
  const auto id = keep(duty, std::move(ends.write));
  EXPECT_EQ(duty.handle(release_request{id}, {}).refusal, 0);
  const auto reply = duty.handle(release_request{id}, {});
  EXPECT_EQ(reply.refusal, static_cast<int>(errc::invalid_argument));
  EXPECT_EQ(reply.reason, "nothing is kept as 1");
}

TEST(custodian_duty, never_closes_what_a_resume_touched) {
  custodian_duty duty;
  auto before = make_pipe();
  auto after = make_pipe();
  const auto id = keep(duty, std::move(before.write));
  EXPECT_FALSE(duty.must_stay());
  EXPECT_EQ(duty.handle(resumed_request{}, {}), custodian_reply{});
  EXPECT_TRUE(duty.must_stay());
  keep(duty, std::move(after.write));

  EXPECT_EQ(duty.handle(release_request{id}, {}), custodian_reply{});
  EXPECT_EQ(duty.handle(stop_request{}, {}).value, 1U);
  EXPECT_TRUE(duty.stopped());
  EXPECT_FALSE(is_hung_up(before.read));
  EXPECT_TRUE(is_hung_up(after.read));
}

TEST(custodian_duty, closes_what_it_holds_at_a_stop_resume_or_not) {
  custodian_duty duty;
  auto lock = make_pipe();
  auto handle = make_pipe();
  EXPECT_EQ(duty.handle(hold_request{}, std::move(lock.write)), custodian_reply{});
  keep(duty, std::move(handle.write));
  EXPECT_EQ(duty.handle(resumed_request{}, {}), custodian_reply{});
  EXPECT_FALSE(is_hung_up(lock.read));
  EXPECT_EQ(duty.handle(stop_request{}, {}).value, 1U);
  EXPECT_TRUE(is_hung_up(lock.read));
  EXPECT_FALSE(is_hung_up(handle.read));
}

TEST(custodian_duty, refuses_to_hold_when_no_descriptor_came) {
  custodian_duty duty;
  EXPECT_EQ(duty.handle(hold_request{}, unique_fd()).refusal,
            static_cast<int>(errc::limit_reached));
}

TEST(custodian_duty, stays_for_nothing_that_it_only_holds) {
  custodian_duty duty;
  auto lock = make_pipe();
  EXPECT_EQ(duty.handle(hold_request{}, std::move(lock.write)).refusal, 0);
  EXPECT_EQ(duty.handle(resumed_request{}, {}).refusal, 0);
  EXPECT_EQ(duty.resumes(), 1U);
  EXPECT_FALSE(duty.must_stay());
}

TEST(custodian_duty, may_leave_when_nothing_was_kept_at_a_resume) {
  custodian_duty duty;
  EXPECT_EQ(duty.handle(resumed_request{}, {}).refusal, 0);
  EXPECT_FALSE(duty.must_stay());
  EXPECT_EQ(duty.handle(stop_request{}, {}).value, 0U);
}

TEST(custodian_duty, keeps_cleanups_in_the_order_of_their_first_registration) {
  custodian_duty duty;
  const auto set = [&](const char* name, const char* value) {
    EXPECT_EQ(duty.handle(set_cleanup_request{name, {cleanup_write{"state", value}}}, {}).refusal,
              0);
  };
  set("xvdb", "1");
  set("xvda", "2");
  set("xvdc", "3");
  set("xvdb", "4");
  EXPECT_EQ(duty.handle(clear_cleanup_request{"xvda"}, {}).refusal, 0);
  ASSERT_EQ(duty.cleanups().size(), 2U);
  EXPECT_EQ(duty.cleanups()[0].name, "xvdb");
  EXPECT_EQ(std::get<cleanup_write>(duty.cleanups()[0].steps.at(0)).value, "4");
  EXPECT_EQ(duty.cleanups()[1].name, "xvdc");
}

}  // namespace
}  // namespace xenpv::xen
