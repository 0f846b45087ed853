#include "xenpv/cli/interruption.hpp"

#include <gtest/gtest.h>

namespace xenpv::cli {
namespace {

TEST(interruption, is_asked_for_by_a_signal_and_stays_so) {
  interruption asked;
  EXPECT_FALSE(asked.is_asked());
  ::raise(SIGINT);
  EXPECT_TRUE(asked.is_asked());
  EXPECT_TRUE(asked.is_asked());
}

TEST(interruption, gives_the_signals_back) {
  sigset_t before{};
  ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
  { const interruption asked; }
  sigset_t after{};
  ::pthread_sigmask(SIG_SETMASK, nullptr, &after);
  EXPECT_EQ(::sigismember(&before, SIGINT), ::sigismember(&after, SIGINT));
}

}  // namespace
}  // namespace xenpv::cli
