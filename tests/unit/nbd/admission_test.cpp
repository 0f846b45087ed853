// The admission of clients to the handshake and to a seat.
#include "nbd/admission.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

namespace xenpv::nbd {
namespace {

using client_id = admission::client_id;
using verdict = admission::verdict;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Optional;

constexpr std::size_t tcp_listener = 0;
constexpr std::size_t local_listener = 1;

admission_limits limits(std::size_t seats, std::size_t handshakes, std::size_t waiting = 8) {
  return {.seats = seats, .handshakes = handshakes, .waiting = waiting};
}

/// Lets clients `first` to `last` arrive; none may be evicted.
void arrive(admission& machine, client_id first, client_id last,
            std::size_t listener = tcp_listener, const std::string& source = {}) {
  for (auto id = first; id <= last; ++id)
    EXPECT_EQ(machine.arrive(id, listener, source), std::nullopt) << id;
}
/// Lets clients arrive and complete their handshakes. Returns the last verdict.
verdict finish(admission& machine, client_id first, client_id last,
               std::size_t listener = tcp_listener, const std::string& source = {}) {
  auto out = verdict::seated;
  for (auto id = first; id <= last; ++id) {
    EXPECT_EQ(machine.arrive(id, listener, source), std::nullopt) << id;
    out = machine.request_seat(id).result;
  }
  return out;
}

TEST(admission, handshakes_do_not_take_seats) {
  admission machine(limits(1, 64));
  arrive(machine, 1, 50);
  EXPECT_EQ(finish(machine, 51, 51), verdict::seated);
  EXPECT_EQ(machine.handshakes(), 50U);
  EXPECT_EQ(machine.seated(), 1U);
}

TEST(admission, the_oldest_handshake_leaves_when_there_are_too_many) {
  admission machine(limits(1, 4));
  arrive(machine, 1, 4);
  EXPECT_THAT(machine.arrive(5, tcp_listener, ""), Optional(1U));
  EXPECT_THAT(machine.arrive(6, tcp_listener, ""), Optional(2U));
  EXPECT_EQ(machine.handshakes(), 4U);
  EXPECT_EQ(machine.ending(), 2U);
  EXPECT_EQ(machine.request_seat(1).result, verdict::evicted);
}

TEST(admission, a_flood_on_one_listener_never_evicts_clients_of_another) {
  admission machine(limits(1, 8));
  arrive(machine, 1, 2, local_listener);
  arrive(machine, 3, 8);
  for (client_id id = 9; id < 200; ++id) {
    const auto victim = machine.arrive(id, tcp_listener, "");
    ASSERT_TRUE(victim && *victim > 2) << id;
    EXPECT_THAT(machine.leave(*victim), IsEmpty());
  }
  // The other way round: a new client of the quiet listener displaces one of the busy listener.
  EXPECT_THAT(machine.arrive(200, local_listener, ""), Optional(194U));
  EXPECT_EQ(machine.request_seat(1).result, verdict::seated);
}

TEST(admission, authenticated_clients_leave_last) {
  admission machine(limits(1, 3));
  arrive(machine, 1, 3);
  machine.authenticated(1);
  EXPECT_THAT(machine.arrive(4, tcp_listener, ""), Optional(2U));
  machine.authenticated(3);
  EXPECT_THAT(machine.arrive(5, tcp_listener, ""), Optional(4U));
  machine.authenticated(5);
  EXPECT_THAT(machine.arrive(6, tcp_listener, ""), Optional(1U))
      << "all others are authenticated, too";
}

TEST(admission, an_address_evicts_only_its_own_handshakes_beyond_its_limit) {
  admission machine({.seats = 1, .handshakes = 64, .handshakes_per_address = 2});
  arrive(machine, 1, 1, tcp_listener, "b");
  arrive(machine, 2, 3, tcp_listener, "a");
  EXPECT_THAT(machine.arrive(4, tcp_listener, "a"), Optional(2U));
  machine.authenticated(3);
  EXPECT_THAT(machine.arrive(5, tcp_listener, "a"), Optional(4U)) << "not the authenticated one";
  machine.authenticated(5);
  EXPECT_THAT(machine.arrive(6, tcp_listener, "a"), Optional(3U));
  arrive(machine, 7, 7, tcp_listener, "b");
  arrive(machine, 8, 60, tcp_listener, "");
}

TEST(admission, the_default_limit_of_handshakes_for_an_address_is_a_quarter) {
  admission machine(limits(1, 64));
  arrive(machine, 1, 16, tcp_listener, "a");
  EXPECT_THAT(machine.arrive(17, tcp_listener, "a"), Optional(1U));
  EXPECT_EQ(admission(limits(1, 8)).limits().handshakes_per_address, 8U);
}

TEST(admission, surplus_clients_wait_and_get_seats_in_the_order_of_arrival) {
  admission machine(limits(2, 64));
  EXPECT_EQ(finish(machine, 1, 2), verdict::seated);
  EXPECT_EQ(finish(machine, 3, 5), verdict::waiting);
  EXPECT_EQ(machine.waiting(), 3U);
  EXPECT_THAT(machine.leave(1), ElementsAre(3U));
  EXPECT_THAT(machine.leave(4), IsEmpty()) << "it left while it waited";
  EXPECT_THAT(machine.leave(2), ElementsAre(5U));
  EXPECT_THAT(machine.leave(3), IsEmpty());
  EXPECT_EQ(machine.seated(), 1U);
}

TEST(admission, seats_go_to_the_listener_with_the_fewest) {
  admission machine(limits(3, 64));
  EXPECT_EQ(finish(machine, 1, 3), verdict::seated);
  EXPECT_EQ(finish(machine, 4, 6), verdict::waiting);
  EXPECT_EQ(finish(machine, 7, 8, local_listener), verdict::waiting);
  EXPECT_THAT(machine.leave(1), ElementsAre(7U));
  EXPECT_THAT(machine.leave(2), ElementsAre(4U)) << "both have one; it has waited longer";
  EXPECT_THAT(machine.leave(3), ElementsAre(5U)) << "both have one again";
}

TEST(admission, the_newest_client_of_the_listener_with_the_most_is_refused_when_too_many_wait) {
  admission machine(limits(1, 64, 3));
  EXPECT_EQ(finish(machine, 1, 1), verdict::seated);
  EXPECT_EQ(finish(machine, 2, 4), verdict::waiting);
  EXPECT_EQ(finish(machine, 5, 5), verdict::too_many_waiting);
  EXPECT_EQ(machine.waiting(), 3U);
  arrive(machine, 6, 6, local_listener);
  const auto answer = machine.request_seat(6);
  EXPECT_EQ(answer.result, verdict::waiting);
  EXPECT_THAT(answer.displaced, Optional(4U));
  arrive(machine, 7, 7, local_listener);
  EXPECT_EQ(machine.request_seat(7).result, verdict::too_many_waiting) << "2 each";
  EXPECT_EQ(machine.waiting(), 3U);
}

TEST(admission, an_address_gets_no_more_than_its_share_of_seats) {
  admission machine(limits(16, 64));
  EXPECT_EQ(finish(machine, 1, 12, tcp_listener, "a"), verdict::seated);
  EXPECT_EQ(finish(machine, 13, 13, tcp_listener, "a"), verdict::address_is_full);
  EXPECT_EQ(finish(machine, 14, 17, tcp_listener, "b"), verdict::seated);
  EXPECT_EQ(finish(machine, 18, 18, tcp_listener, "c"), verdict::waiting);
  EXPECT_THAT(machine.leave(13), IsEmpty());
  EXPECT_THAT(machine.leave(1), ElementsAre(18U));
  EXPECT_EQ(finish(machine, 19, 19, tcp_listener, "a"), verdict::waiting);
}

TEST(admission, clients_that_wait_count_towards_the_share_of_their_address) {
  admission machine({.seats = 4, .handshakes = 64, .seats_per_address = 2});
  EXPECT_EQ(finish(machine, 1, 4, tcp_listener, ""), verdict::seated);
  EXPECT_EQ(finish(machine, 5, 6, tcp_listener, "a"), verdict::waiting);
  EXPECT_EQ(finish(machine, 7, 7, tcp_listener, "a"), verdict::address_is_full);
}

TEST(admission, an_address_can_have_the_four_connections_of_nbdcopy_whenever_it_is_alone) {
  for (const std::size_t seats : {4U, 5U, 8U, 16U}) {
    admission machine(limits(seats, 64));
    EXPECT_EQ(finish(machine, 1, 4, tcp_listener, "a"), verdict::seated) << seats;
  }
}

TEST(admission, local_clients_may_take_all_seats) {
  admission machine(limits(16, 64));
  EXPECT_EQ(finish(machine, 1, 16, local_listener), verdict::seated);
}

TEST(admission, is_congested_while_many_evicted_clients_are_not_gone) {
  admission machine(limits(1, 2));
  arrive(machine, 1, 2);
  EXPECT_THAT(machine.arrive(3, tcp_listener, ""), Optional(1U));
  EXPECT_FALSE(machine.is_congested());
  EXPECT_THAT(machine.arrive(4, tcp_listener, ""), Optional(2U));
  EXPECT_TRUE(machine.is_congested());
  EXPECT_THAT(machine.leave(1), IsEmpty());
  EXPECT_FALSE(machine.is_congested());
}

TEST(admission, makes_room_only_if_there_is_a_handshake) {
  admission machine(limits(2, 8));
  EXPECT_EQ(finish(machine, 1, 2), verdict::seated);
  EXPECT_EQ(finish(machine, 3, 3), verdict::waiting);
  EXPECT_EQ(machine.make_room(), std::nullopt);
  arrive(machine, 4, 4);
  EXPECT_THAT(machine.make_room(), Optional(4U));
  EXPECT_EQ(machine.make_room(), std::nullopt);
}

TEST(admission, ignores_clients_that_it_does_not_know) {
  admission machine(limits(1, 1));
  machine.authenticated(7);
  EXPECT_THAT(machine.leave(7), IsEmpty());
  EXPECT_EQ(machine.request_seat(7).result, verdict::evicted);
}

/// Random clients. Checks all bounds after every step, that no client waits while a seat is free,
/// and that every client that stays eventually gets a seat.
TEST(admission, keeps_all_bounds_for_any_sequence_of_events) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    const auto pick = [&](std::size_t bound) { return random() % bound; };
    const auto bounds = limits(1 + pick(6), 1 + pick(6), pick(4));
    admission machine(bounds);
    std::set<client_id> haggling;
    std::set<client_id> gone;
    std::map<client_id, bool> seats;  // false: waiting
    client_id last = 0;
    const auto leave = [&](client_id id) {
      for (const auto next : machine.leave(id)) {
        ASSERT_TRUE(seats.contains(next) && !seats[next]) << "seed " << seed;
        seats[next] = true;
      }
    };
    for (int step = 0; step < 200; ++step) {
      const auto event = pick(4);
      if (event == 0) {
        const auto source = pick(3);
        haggling.insert(++last);
        const auto victim =
            machine.arrive(last, pick(3), source == 0 ? "" : std::to_string(source));
        if (victim) {
          ASSERT_EQ(haggling.erase(*victim), 1U) << "seed " << seed;
          ASSERT_NE(*victim, last);
          gone.insert(*victim);
        }
      } else if (event == 1 && !haggling.empty()) {
        const auto id = *std::next(haggling.begin(), static_cast<long>(pick(haggling.size())));
        haggling.erase(id);
        const auto answer = machine.request_seat(id);
        if (answer.displaced) {
          ASSERT_FALSE(seats.at(*answer.displaced)) << "seed " << seed;
          seats.erase(*answer.displaced);
          gone.insert(*answer.displaced);
        }
        if (answer.result == verdict::seated || answer.result == verdict::waiting)
          seats[id] = answer.result == verdict::seated;
        else
          gone.insert(id);
      } else if (event == 2 && !seats.empty()) {
        const auto entry = std::next(seats.begin(), static_cast<long>(pick(seats.size())));
        const auto id = entry->first;
        seats.erase(entry);
        leave(id);
      } else if (event == 3 && !gone.empty()) {
        const auto id = *gone.begin();
        gone.erase(id);
        leave(id);
      }
      const auto seated = std::ranges::count_if(seats, [](const auto& e) { return e.second; });
      ASSERT_EQ(machine.seated(), static_cast<std::size_t>(seated)) << "seed " << seed;
      ASSERT_EQ(machine.waiting(), seats.size() - machine.seated()) << "seed " << seed;
      ASSERT_EQ(machine.handshakes(), haggling.size()) << "seed " << seed;
      ASSERT_EQ(machine.ending(), gone.size()) << "seed " << seed;
      ASSERT_LE(machine.seated(), bounds.seats);
      ASSERT_LE(machine.handshakes(), std::max<std::size_t>(bounds.handshakes, 1));
      ASSERT_LE(machine.waiting(), bounds.waiting);
      ASSERT_TRUE(machine.waiting() == 0 || machine.seated() == bounds.seats) << "seed " << seed;
    }
    while (!seats.empty()) {
      const auto seated = std::ranges::find_if(seats, [](const auto& e) { return e.second; });
      ASSERT_NE(seated, seats.end()) << "seed " << seed;
      const auto id = seated->first;
      seats.erase(seated);
      leave(id);
    }
  }
}

}  // namespace
}  // namespace xenpv::nbd
