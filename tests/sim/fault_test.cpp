// Every fault that the simulated host can inject, as seen by a program in a domain.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "simulated_host.hpp"

namespace xenpv::sim {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class fault_test : public testing::Test {
 protected:
  void connect() {
    guest_->ask("open");
    backend_->ask("open");
    guest_port_ = guest_->ask("bind_unbound 0");
    backend_port_ = backend_->ask("bind_interdomain 1 " + guest_port_);
  }
  /// Sends notifications one by one and unmasks the port after each event. Returns the number of
  /// events received.
  int count_events(int sent) {
    int arrived = 0;
    for (int i = 0; i < sent; ++i) {
      backend_->ask("notify " + backend_port_);
      while (guest_->ask("pending 0") != "none") {
        ++arrived;
        guest_->ask("unmask " + guest_port_);
      }
    }
    return arrived;
  }

  simulated_host host_;
  std::unique_ptr<actor_process> guest_ = host_.actor(1);
  std::unique_ptr<actor_process> backend_ = host_.actor(0);
  std::string guest_port_;
  std::string backend_port_;
};

TEST_F(fault_test, every_event_arrives_once_without_faults) {
  connect();
  EXPECT_EQ(count_events(12), 12);
}

TEST_F(fault_test, event_lost_drops_the_given_ratio) {
  connect();
  host_.fault("event-lost=1/3");
  EXPECT_EQ(count_events(12), 8);
  EXPECT_EQ(host_.status()["faults"]["events_lost"], 4);
  host_.fault("none");
  EXPECT_EQ(count_events(12), 12);
}

TEST_F(fault_test, event_doubled_delivers_twice) {
  connect();
  host_.fault("event-doubled=1/1");
  EXPECT_EQ(count_events(5), 10);
  EXPECT_EQ(host_.status()["faults"]["events_doubled"], 5);
}

TEST_F(fault_test, event_delayed_arrives_later) {
  connect();
  host_.fault("event-delayed=100ms");
  const auto start = std::chrono::steady_clock::now();
  backend_->ask("notify " + backend_port_);
  EXPECT_EQ(guest_->ask("pending 10000"), guest_port_);
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(100));
  EXPECT_EQ(host_.status()["faults"]["events_delayed"], 1);
}

TEST_F(fault_test, grant_refused_looks_like_an_exhausted_limit) {
  host_.fault("grant-refused=1/2");
  EXPECT_THAT(guest_->ask("share 0 1"), HasSubstr("no space left on device"));
  EXPECT_GT(guest_->ask_number("share 0 1"), 0U);
}

TEST_F(fault_test, store_slow_delays_only_guest_requests) {
  host_.fault("store-slow=50ms");
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(guest_->ask("store_read domid"), "1");
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(50));
  EXPECT_EQ(backend_->ask("store_read domid"), "0");
}

TEST_F(fault_test, store_fail_returns_eio) {
  host_.fault("store-fail=2");
  EXPECT_EQ(guest_->ask("store_read domid"), "1");
  EXPECT_THAT(guest_->ask("store_read domid"), HasSubstr("nput/output error"));
}

TEST_F(fault_test, store_eagain_repeats_transactions) {
  guest_->ask("store_keep");
  host_.fault("store-eagain=2");
  EXPECT_EQ(guest_->ask("transact 10"), "1");
  EXPECT_EQ(guest_->ask("transact 10"), "2") << "the second commit fails, the third succeeds";
}

TEST_F(fault_test, store_eagain_fails_a_transaction_after_all_attempts) {
  guest_->ask("store_keep");
  host_.fault("store-eagain=1");
  EXPECT_THAT(guest_->ask("transact 5"), HasSubstr("resource temporarily unavailable"));
  EXPECT_EQ(guest_->ask("store_read data/transacted"), "absent");
}

TEST_F(fault_test, store_vanish_closes_connections_until_cleared) {
  guest_->ask("store_keep");
  EXPECT_EQ(guest_->ask("store_connected"), "yes");
  host_.fault("store-vanish=1");
  EXPECT_EQ(guest_->ask("store_connected"), "yes") << "one more request is answered";
  EXPECT_EQ(guest_->ask("store_connected"), "no");
  EXPECT_THAT(guest_->ask("store_read domid"), StartsWith("error"));
  host_.fault("none");
  EXPECT_EQ(guest_->ask("store_read domid"), "1");
}

TEST_F(fault_test, unknown_fault_is_rejected_with_the_list_of_faults) {
  try {
    host_.fault("gremlins=1");
    FAIL() << "accepted";
  } catch (const std::exception& problem) {
    EXPECT_THAT(problem.what(), HasSubstr("fault 'gremlins=1'"));
    EXPECT_THAT(problem.what(), HasSubstr("event-lost"));
  }
}

}  // namespace
}  // namespace xenpv::sim
