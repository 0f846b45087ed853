#include "nbd/stall_watch.hpp"

#include <gtest/gtest.h>

namespace xenpv::nbd::test {
namespace {

using namespace std::chrono_literals;

class stall_watch_test : public testing::Test {
 protected:
  /// Checks after `pause`.
  bool check(std::chrono::seconds pause, bool is_due, std::uint64_t bytes,
             std::uint64_t least = 1) {
    now_ += pause;
    return watch_.is_stalled(is_due, bytes, now_, 60s, least);
  }

 private:
  stall_watch watch_;
  stall_watch::time_point now_{1000s};
};

TEST_F(stall_watch_test, reports_a_client_without_progress_for_the_limit) {
  EXPECT_FALSE(check(0s, true, 5));
  EXPECT_FALSE(check(59s, true, 5));
  EXPECT_TRUE(check(1s, true, 5));
}

TEST_F(stall_watch_test, restarts_at_any_byte_of_progress) {
  EXPECT_FALSE(check(0s, true, 5));
  EXPECT_FALSE(check(59s, true, 6));
  EXPECT_FALSE(check(59s, true, 6));
  EXPECT_TRUE(check(1s, true, 6));
}

TEST_F(stall_watch_test, ignores_clients_that_the_server_does_not_wait_for) {
  for (int i = 0; i < 10; ++i)
    EXPECT_FALSE(check(100s, false, 5));
  EXPECT_FALSE(check(100s, true, 5)) << "the wait has only begun";
  EXPECT_FALSE(check(59s, false, 5));
  EXPECT_FALSE(check(1s, true, 5));
}

TEST_F(stall_watch_test, counts_only_a_minimum_of_bytes_as_progress) {
  EXPECT_FALSE(check(0s, true, 1000, 100));
  EXPECT_FALSE(check(30s, true, 1099, 100)) << "a byte now and then";
  EXPECT_FALSE(check(29s, true, 1100, 100)) << "enough since the first check";
  EXPECT_FALSE(check(59s, true, 1199, 100));
  EXPECT_TRUE(check(1s, true, 1199, 100));
}

TEST_F(stall_watch_test, is_checked_several_times_per_limit) {
  EXPECT_LE(stall_watch::interval(60s), 10s);
  EXPECT_GE(stall_watch::interval(60s), 1s);
}

}  // namespace
}  // namespace xenpv::nbd::test
