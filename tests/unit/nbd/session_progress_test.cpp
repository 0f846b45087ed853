// Clients that stop in the middle of a request, or do not read their replies.
#include <gtest/gtest.h>

#include "session_rig.hpp"

namespace xenpv::nbd {
namespace {

using namespace test;
using namespace std::chrono_literals;

constexpr auto limit = 500ms;  // a sanitizer build takes tens of milliseconds for a request

session_options limited(fake_options device = {}) {
  return {.device = device, .progress_limit = limit};
}

/// Runs the session until it ends, for at most a few seconds.
void run_until_ended(session_rig& rig) {
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (!rig.ended && std::chrono::steady_clock::now() < deadline) {
    rig.context.restart();
    rig.context.run_one_for(limit);
  }
}

/// Runs the session for several times the limit.
void run_beyond_limit(session_rig& rig) {
  const auto deadline = std::chrono::steady_clock::now() + 3 * limit;
  while (std::chrono::steady_clock::now() < deadline) {
    rig.context.restart();
    rig.context.run_one_until(deadline);
  }
}

TEST(session_progress, hangs_up_on_a_client_that_does_not_read_its_replies) {
  session_rig rig(limited({.size = 8192 * kib, .pages = 256}));
  for (int i = 0; i < 4; ++i)
    rig.send(read_request(1, 0, 1024 * kib));
  EXPECT_FALSE(rig.ended);
  run_until_ended(rig);
  EXPECT_EQ(rig.ended, "the client has not read its replies for 0.5 s");
  EXPECT_TRUE(rig.is_shut);
  EXPECT_TRUE(rig.served->ended_by_server());
  EXPECT_EQ(rig.queue.pages()->free(), 256U);
}

TEST(session_progress, hangs_up_on_a_client_that_stops_in_a_payload) {
  session_rig rig(limited());
  rig.send(write_request(1, 0, pattern(8000)).substr(0, 5000));
  run_until_ended(rig);
  EXPECT_EQ(rig.ended, "the client has not sent the rest of a request for 0.5 s");
  EXPECT_EQ(rig.queue.submitted, 0U);
}

TEST(session_progress, hangs_up_on_a_client_that_stops_in_a_request_header) {
  session_rig rig(limited());
  rig.send(read_request(1, 0, 512).substr(0, 20));
  run_until_ended(rig);
  EXPECT_EQ(rig.ended, "the client has not sent the rest of a request for 0.5 s");
}

TEST(session_progress, hangs_up_on_a_client_that_stops_in_the_payload_of_a_refused_write) {
  session_rig rig(limited());
  rig.send(write_request(1, 1024 * kib, pattern(8000)).substr(0, 5000));
  run_until_ended(rig);
  EXPECT_EQ(rig.ended, "the client has not sent the rest of a request for 0.5 s");
}

TEST(session_progress, hangs_up_on_a_client_that_is_gone_while_the_session_does_not_read) {
  session_rig rig({.device = {.answers = false}, .limits = {.requests = 2}, .progress_limit = 1s});
  rig.send(read_request(1, 0, 512) + read_request(2, 0, 512) + read_request(3, 0, 512));
  EXPECT_EQ(rig.queue.waiting.size(), 2U) << "the session reads no more requests";
  rig.vanish();
  rig.context.restart();
  while (!rig.is_shut && rig.context.run_one_for(10s) > 0) {
  }
  EXPECT_TRUE(rig.is_shut);
  EXPECT_FALSE(rig.ended) << "requests are in flight";
  rig.queue.answer_all();
  run_until_ended(rig);
  EXPECT_EQ(rig.ended, "the client closed the connection before its requests were complete");
}

TEST(session_progress, waits_for_replies_to_a_client_that_only_closed_its_own_side) {
  session_rig rig(
      {.device = {.answers = false}, .limits = {.requests = 2}, .progress_limit = limit});
  rig.send(read_request(1, 0, 512));
  rig.half_close();
  run_beyond_limit(rig);
  EXPECT_FALSE(rig.is_shut);
  rig.expect_data(1, 512);
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies(), lines{"1 data 512"});
}

TEST(session_progress, accepts_idle_clients) {
  session_rig rig(limited());
  rig.send_read(1, 0, 512);
  EXPECT_EQ(rig.replies(), lines{"1 data 512"});
  run_beyond_limit(rig);
  EXPECT_FALSE(rig.ended);
  rig.send_read(2, 0, 512);
  EXPECT_EQ(rig.replies(), lines{"2 data 512"});
}

TEST(session_progress, accepts_clients_that_wait_for_the_device) {
  session_rig rig(limited({.answers = false}));
  rig.send_read(1, 0, 512);
  run_beyond_limit(rig);
  EXPECT_FALSE(rig.ended);
  rig.queue.answer_all();
  EXPECT_EQ(rig.replies(), lines{"1 data 512"});
}

TEST(session_progress, accepts_slow_clients) {
  session_rig rig(limited());
  const auto whole = write_request(1, 0, pattern(8));
  const auto begin = std::chrono::steady_clock::now();
  for (const char byte : whole) {
    rig.send({&byte, 1});
    rig.context.restart();
    rig.context.run_for(limit / 16);
  }
  EXPECT_GT(std::chrono::steady_clock::now() - begin, limit);
  EXPECT_EQ(rig.replies(), lines{"1 ok"});
  EXPECT_FALSE(rig.ended);
}

TEST(session_progress, has_no_limit_by_default) {
  session_rig rig;
  rig.send(write_request(1, 0, pattern(8000)).substr(0, 5000));
  run_beyond_limit(rig);
  EXPECT_FALSE(rig.ended);
}

}  // namespace
}  // namespace xenpv::nbd
