#include "cli/interruption.hpp"

#include <gtest/gtest.h>

namespace xenpv::cli {
namespace {

TEST(interruption, stays_set_after_a_signal) {
  interruption pending;
  EXPECT_FALSE(pending.is_asked());
  ::raise(SIGINT);
  EXPECT_TRUE(pending.is_asked());
  EXPECT_TRUE(pending.is_asked());
}

TEST(interruption, restores_the_signal_mask) {
  sigset_t before{};
  ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
  { const interruption pending; }
  sigset_t after{};
  ::pthread_sigmask(SIG_SETMASK, nullptr, &after);
  EXPECT_EQ(::sigismember(&before, SIGINT), ::sigismember(&after, SIGINT));
}

}  // namespace
}  // namespace xenpv::cli
