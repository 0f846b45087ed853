#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "unit/xen/pipe.hpp"
#include "xen/custodian_process.hpp"

namespace xenpv::xen {
namespace {

using test::is_hung_up;
using test::make_pipe;

std::uint64_t keep(custodian_duty& duty, unique_fd descriptor) {
  static std::uint64_t id = 0;
  EXPECT_EQ(duty.handle(keep_request{++id}, std::move(descriptor)), custodian_reply{});
  return id;
}

TEST(custodian_duty, rejects_keep_without_a_descriptor) {
  custodian_duty duty;
  const auto reply = duty.handle(keep_request{}, unique_fd());
  EXPECT_EQ(reply.refusal, static_cast<int>(errc::limit_reached));
  EXPECT_EQ(reply.reason, "the custodian's descriptor table is full: raise ulimit -n");
}

TEST(custodian_duty, closes_only_the_released_descriptor) {
  custodian_duty duty;
  auto first = make_pipe();
  auto second = make_pipe();
  const auto id = keep(duty, std::move(first.write));
  keep(duty, std::move(second.write));
  EXPECT_EQ(duty.handle(release_request{id}, {}), custodian_reply{});
  EXPECT_TRUE(is_hung_up(first.read));
  EXPECT_FALSE(is_hung_up(second.read));
}

TEST(custodian_duty, rejects_a_second_release) {
  custodian_duty duty;
  auto ends = make_pipe();
  const auto id = keep(duty, std::move(ends.write));
  EXPECT_EQ(duty.handle(release_request{id}, {}).refusal, 0);
  const auto reply = duty.handle(release_request{id}, {});
  EXPECT_EQ(reply.refusal, static_cast<int>(errc::invalid_argument));
  EXPECT_EQ(reply.reason, "no descriptor has id " + std::to_string(id));
}

TEST(custodian_duty, rejects_a_duplicate_id) {
  custodian_duty duty;
  auto first = make_pipe();
  auto second = make_pipe();
  const auto id = keep(duty, std::move(first.write));
  const auto reply = duty.handle(keep_request{id}, std::move(second.write));
  EXPECT_EQ(reply.refusal, static_cast<int>(errc::invalid_argument));
  EXPECT_FALSE(is_hung_up(first.read));
  EXPECT_TRUE(is_hung_up(second.read));
}

/// Copies the inventory of `source` to `target`, as a main process does for a new custodian.
void hand_over(const custodian_duty& source, custodian_duty& target) {
  for (const auto& [request, descriptor] : source.inventory()) {
    auto duplicate = descriptor < 0 ? unique_fd() : unique_fd::duplicate(descriptor);
    EXPECT_EQ(target.handle(request, std::move(duplicate)), custodian_reply{});
  }
}

TEST(custodian_duty, can_be_copied_completely) {
  auto stale = make_pipe();
  auto live = make_pipe();
  auto lock = make_pipe();
  custodian_duty successor;
  std::uint64_t id = 0;
  {
    custodian_duty duty;
    keep(duty, std::move(stale.write));
    EXPECT_EQ(duty.handle(resumed_request{}, {}).refusal, 0);
    id = keep(duty, std::move(live.write));
    EXPECT_EQ(duty.handle(hold_request{}, std::move(lock.write)).refusal, 0);
    for (const auto* name : {"xvdb", "xvda"})
      EXPECT_EQ(duty.handle(set_cleanup_request{name, {cleanup_write{"state", name}}}, {}).refusal,
                0);
    hand_over(duty, successor);
  }
  EXPECT_FALSE(is_hung_up(stale.read));
  EXPECT_FALSE(is_hung_up(live.read));
  EXPECT_FALSE(is_hung_up(lock.read));
  ASSERT_EQ(successor.cleanups().size(), 2U);
  EXPECT_EQ(successor.cleanups()[0].name, "xvdb");
  EXPECT_EQ(std::get<cleanup_write>(successor.cleanups()[1].steps.at(0)).value, "xvda");
  EXPECT_EQ(successor.handle(release_request{id}, {}).refusal, 0);
  EXPECT_TRUE(is_hung_up(live.read));
  EXPECT_EQ(successor.handle(stop_request{}, {}).value, 1U);
  EXPECT_TRUE(is_hung_up(lock.read));
  EXPECT_FALSE(is_hung_up(stale.read));
}

TEST(custodian_duty, drops_cleanups_after_running_them) {
  custodian_duty duty;
  EXPECT_EQ(duty.handle(set_cleanup_request{"xvdb", {cleanup_write{"state", "6"}}}, {}).refusal, 0);
  EXPECT_EQ(duty.handle(clean_up_request{}, {}), custodian_reply{});
  EXPECT_TRUE(duty.cleanups().empty());
  EXPECT_FALSE(duty.stopped());
}

TEST(custodian_duty, never_closes_descriptors_from_before_a_resume) {
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

TEST(custodian_duty, closes_held_descriptors_at_a_stop_even_after_a_resume) {
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

TEST(custodian_duty, rejects_hold_without_a_descriptor) {
  custodian_duty duty;
  EXPECT_EQ(duty.handle(hold_request{}, unique_fd()).refusal,
            static_cast<int>(errc::limit_reached));
}

TEST(custodian_duty, does_not_keep_running_for_held_descriptors) {
  custodian_duty duty;
  auto lock = make_pipe();
  EXPECT_EQ(duty.handle(hold_request{}, std::move(lock.write)).refusal, 0);
  EXPECT_EQ(duty.handle(resumed_request{}, {}).refusal, 0);
  EXPECT_EQ(duty.resumes(), 1U);
  EXPECT_FALSE(duty.must_stay());
}

TEST(custodian_duty, may_exit_if_no_descriptor_was_kept_at_a_resume) {
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
