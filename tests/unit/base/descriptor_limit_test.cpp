// The limit of open file descriptors, and the reserve below it.
#include "base/descriptor_limit.hpp"

#include <gtest/gtest.h>

namespace xenpv {
namespace {

/// Restores the process's limit.
class kept_limit {
 public:
  kept_limit() { ::getrlimit(RLIMIT_NOFILE, &before_); }
  ~kept_limit() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  kept_limit(const kept_limit&) = delete;
  kept_limit& operator=(const kept_limit&) = delete;
  void lower(rlim_t soft) const {
    auto limit = before_;
    limit.rlim_cur = soft;
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  }
  [[nodiscard]] rlim_t hard() const { return before_.rlim_max; }

 private:
  rlimit before_{};
};

TEST(descriptor_limit, is_raised_to_the_hard_limit_and_the_previous_one_is_returned) {
  const kept_limit kept;
  kept.lower(200);
  EXPECT_EQ(descriptor_limit(), 200U);
  EXPECT_EQ(raise_descriptor_limit().rlim_cur, 200U);
  EXPECT_EQ(descriptor_limit(), std::min<rlim_t>(kept.hard(), 65536));
}

TEST(descriptor_limit, is_never_lowered) {
  const kept_limit kept;
  const auto before = descriptor_limit();
  (void)raise_descriptor_limit();
  EXPECT_GE(descriptor_limit(), before);
}

TEST(descriptor_limit, a_reserve_is_kept_below_it) {
  EXPECT_FALSE(is_in_reserve(959, 1024));
  EXPECT_TRUE(is_in_reserve(960, 1024));
  EXPECT_FALSE(is_in_reserve(47, 64));
  EXPECT_TRUE(is_in_reserve(48, 64));
  EXPECT_TRUE(is_in_reserve(1023, 1024));
}

}  // namespace
}  // namespace xenpv
