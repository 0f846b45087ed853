#include <gtest/gtest.h>

#include "measuring/measuring.hpp"

namespace xenpv::measuring {
namespace {

TEST(progress, stays_interrupted_after_a_signal) {
  progress line;
  EXPECT_TRUE(line.go_on("measuring"));
  ::raise(SIGINT);
  EXPECT_FALSE(line.go_on("measuring"));
  EXPECT_FALSE(line.go_on("measuring"));
}

TEST(progress, restores_the_signal_mask) {
  sigset_t before{};
  ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
  { const progress line; }
  sigset_t after{};
  ::pthread_sigmask(SIG_SETMASK, nullptr, &after);
  EXPECT_EQ(::sigismember(&before, SIGINT), ::sigismember(&after, SIGINT));
}

}  // namespace
}  // namespace xenpv::measuring
