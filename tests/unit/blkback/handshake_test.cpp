// The backend's next step for every pair of backend and frontend states.
#include "blkback/handshake.hpp"

#include <gtest/gtest.h>

namespace xenpv::blkback {
namespace {

using enum wire::xenbus_state;

const auto& linux_personality = personality_of(backend_kind::linux_blkback);

constexpr std::array all_states = {unknown, initialising, init_wait,     initialised, connected,
                                   closing, closed,       reconfiguring, reconfigured};

step next(situation now, backend_kind kind = backend_kind::linux_blkback) {
  return next_step(personality_of(kind), now);
}

/// Returns one letter for the step in each frontend state: w(ait), a(nnounce), c(onnect), b(egin
/// closing), f(inish closing), l(eave).
std::string row(situation now) {
  std::string out;
  for (const auto frontend : all_states) {
    now.frontend = frontend;
    out += to_string(next_step(linux_personality, now))[0];
  }
  return out;
}

situation in(wire::xenbus_state own) {
  situation now;
  now.own = own;
  return now;
}

TEST(handshake, has_a_step_for_every_pair_of_states) {
  // Columns (frontend states): Unknown, Initialising, InitWait, Initialised, Connected, Closing,
  // Closed, Reconfiguring, Reconfigured.
  EXPECT_EQ(row(in(initialising)), "aaaaaaaaa");
  EXPECT_EQ(row(in(init_wait)), "lwwccbfww");
  EXPECT_EQ(row(in(initialised)), "lwwwwbfww");
  EXPECT_EQ(row(in(connected)), "lwwwwbfww");
  EXPECT_EQ(row(in(closing)), "lwwwwwfww");
  EXPECT_EQ(row(in(closed)), "lawwwwwww");
  auto offline = in(closed);
  offline.online = false;
  EXPECT_EQ(row(offline), "llwwwwlww");
}

TEST(handshake, waits_for_the_medium_before_it_connects) {
  auto now = in(init_wait);
  now.frontend = initialised;
  now.medium_ready = false;
  EXPECT_EQ(next(now), step::wait);
  now.medium_ready = true;
  EXPECT_EQ(next(now), step::connect);
}

TEST(handshake, ignores_a_ring_offered_before_its_restart) {
  auto now = in(init_wait);
  now.frontend = connected;
  now.frontend_is_stale = true;
  EXPECT_EQ(next(now), step::wait);
  now.frontend = closing;
  EXPECT_EQ(next(now), step::begin_closing);
}

TEST(handshake, follows_an_unplug_through_to_the_end) {
  auto now = in(connected);
  now.frontend = connected;
  now.online = false;
  now.asked_to_close = true;
  EXPECT_EQ(next(now), step::wait);
  now.frontend = closing;
  EXPECT_EQ(next(now), step::begin_closing);
  now.own = closing;
  now.frontend = closed;
  EXPECT_EQ(next(now), step::finish_closing);
  now.own = closed;
  EXPECT_EQ(next(now), step::leave);
}

TEST(handshake, finishes_an_unplug_immediately_without_a_frontend_driver) {
  auto now = in(init_wait);
  now.frontend = initialising;
  now.online = false;
  EXPECT_EQ(next(now), step::wait);
  now.asked_to_close = true;
  EXPECT_EQ(next(now), step::finish_closing);
  now.own = closed;
  EXPECT_EQ(next(now), step::leave);
}

TEST(handshake, stays_closed_like_freebsd_when_a_frontend_reconnects) {
  auto now = in(closed);
  now.frontend = initialising;
  for (const auto& [kind, name] : wire::backend_kinds)
    EXPECT_EQ(next(now, kind), kind == backend_kind::freebsd ? step::wait : step::announce) << name;
}

}  // namespace
}  // namespace xenpv::blkback
