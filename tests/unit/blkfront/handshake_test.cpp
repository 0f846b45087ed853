// Tables of the handshake step for every pair of states. Scenarios and random walks are in
// handshake_story_test.cpp.
#include "blkfront/handshake.hpp"

#include <gmock/gmock.h>

#include <array>

namespace xenpv::blkfront {
namespace {

using wire::xenbus_state;

/// Rows: frontend states 0 to 8. Columns: no backend, then backend states 0 to 8.
using table = std::array<std::string_view, 9>;

/// Returns one character per step. A digit is the state to write.
char letter(handshake_step step) {
  switch (step) {
    case handshake_step::wait:
      return '.';
    case handshake_step::set_closing:
      return '5';
    case handshake_step::set_closed:
      return '6';
    case handshake_step::set_initialising:
      return '1';
    case handshake_step::publish:
      return '3';
    case handshake_step::finish:
      return '4';
    case handshake_step::look_again:
      return 'L';
    case handshake_step::close:
      return 'C';
    case handshake_step::lost:
      return 'X';
    case handshake_step::unplugged:
      return 'U';
    case handshake_step::closed:
      return '=';
  }
  return '?';
}

handshake_view view_of(unsigned own, unsigned column) {
  handshake_view view;
  view.own = static_cast<xenbus_state>(own);
  if (column > 0) view.backend = static_cast<xenbus_state>(column - 1);
  return view;
}

/// Compares the step for each pair of states with the table.
template <class Function>
void expect_table(const table& expected, Function step) {
  for (unsigned own = 0; own < 9; ++own) {
    std::string row;
    for (unsigned column = 0; column < 10; ++column) {
      row += ' ';
      row += letter(step(view_of(own, column)));
    }
    EXPECT_EQ(row, expected[own]) << "frontend state " << own;
  }
}

/// Like expect_table(), but each pair gets a new machine that has processed the views in `before`.
void expect_next(const table& expected, const std::vector<handshake_view>& before,
                 bool online = true, bool waited_long = false) {
  expect_table(expected, [&](handshake_view view) {
    handshake machine;
    for (const auto& earlier : before)
      (void)machine.next(earlier);
    view.online = online;
    view.waited_long = waited_long;
    return machine.next(view);
  });
}

const handshake_view waits_for_ring{xenbus_state::initialising, xenbus_state::init_wait};
const handshake_view took_ring{xenbus_state::initialised, xenbus_state::connected};

TEST(handshake_table, brings_every_pair_towards_initialising_and_init_wait) {
  const table expected = {{
      //- 0 1 2 3 4 5 6 7 8
      " . . 5 5 5 5 6 6 . .",  // Unknown
      " . . . 3 5 5 6 1 . .",  // Initialising
      " . . 5 5 5 5 6 6 . .",  // InitWait
      " . . 5 5 5 5 6 6 . .",  // Initialised
      " . . 5 5 5 5 6 6 . .",  // Connected
      " . . 6 . . . 6 6 . .",  // Closing
      " . . 1 1 . . . 1 . .",  // Closed
      " . . 5 5 5 5 6 6 . .",  // Reconfiguring
      " . . 5 5 5 5 6 6 . .",  // Reconfigured
  }};
  expect_next(expected, {});
}

TEST(handshake_table, proceeds_from_closing_without_the_backend_after_a_long_wait) {
  const table expected = {{
      //- 0 1 2 3 4 5 6 7 8
      " . . 5 5 5 5 6 6 . .",  // Unknown
      " . . . 3 5 5 6 1 . .",  // Initialising
      " . . 5 5 5 5 6 6 . .",  // InitWait
      " . . 5 5 5 5 6 6 . .",  // Initialised
      " . . 5 5 5 5 6 6 . .",  // Connected
      " . . 6 6 6 6 6 6 . .",  // Closing
      " . . 1 1 . . . 1 . .",  // Closed
      " . . 5 5 5 5 6 6 . .",  // Reconfiguring
      " . . 5 5 5 5 6 6 . .",  // Reconfigured
  }};
  expect_next(expected, {}, true, true);
}

TEST(handshake_table, reports_unplugged_when_an_offline_backend_closes) {
  const table expected = {{
      //- 0 1 2 3 4 5 6 7 8
      " . . 5 5 5 5 U U . .",  // Unknown
      " . . . 3 5 5 U U . .",  // Initialising
      " . . 5 5 5 5 U U . .",  // InitWait
      " . . 5 5 5 5 U U . .",  // Initialised
      " . . 5 5 5 5 U U . .",  // Connected
      " . . 6 . . . U U . .",  // Closing
      " . . 1 1 . . U U . .",  // Closed
      " . . 5 5 5 5 U U . .",  // Reconfiguring
      " . . 5 5 5 5 U U . .",  // Reconfigured
  }};
  expect_next(expected, {}, false);
}

TEST(handshake_table, reports_unplugged_after_a_long_wait) {
  const table expected = {{
      //- 0 1 2 3 4 5 6 7 8
      " . . 5 5 5 5 U U . .",  // Unknown
      " . . . 3 5 5 U U . .",  // Initialising
      " . . 5 5 5 5 U U . .",  // InitWait
      " . . 5 5 5 5 U U . .",  // Initialised
      " . . 5 5 5 5 U U . .",  // Connected
      " . . 6 6 6 6 U U . .",  // Closing
      " . . 1 1 . . U U . .",  // Closed
      " . . 5 5 5 5 U U . .",  // Reconfiguring
      " . . 5 5 5 5 U U . .",  // Reconfigured
  }};
  expect_next(expected, {}, false, true);
}

TEST(handshake_table, wakes_a_closed_backend_once) {
  const table expected = {{
      //- 0 1 2 3 4 5 6 7 8
      " . . 5 5 5 5 6 6 . .",  // Unknown
      " . . . 3 5 5 6 . . .",  // Initialising
      " . . 5 5 5 5 6 6 . .",  // InitWait
      " . . 5 5 5 5 6 6 . .",  // Initialised
      " . . 5 5 5 5 6 6 . .",  // Connected
      " . . 6 . . . 6 6 . .",  // Closing
      " . . 1 1 . . . 1 . .",  // Closed
      " . . 5 5 5 5 6 6 . .",  // Reconfiguring
      " . . 5 5 5 5 6 6 . .",  // Reconfigured
  }};
  expect_next(expected, {{xenbus_state::initialising, xenbus_state::closed}});
}

TEST(handshake_table, wakes_a_closed_backend_again_after_a_long_wait) {
  const table expected = {{
      //- 0 1 2 3 4 5 6 7 8
      " . . 5 5 5 5 6 6 . .",  // Unknown
      " . . . 3 5 5 6 1 . .",  // Initialising
      " . . 5 5 5 5 6 6 . .",  // InitWait
      " . . 5 5 5 5 6 6 . .",  // Initialised
      " . . 5 5 5 5 6 6 . .",  // Connected
      " . . 6 6 6 6 6 6 . .",  // Closing
      " . . 1 1 . . . 1 . .",  // Closed
      " . . 5 5 5 5 6 6 . .",  // Reconfiguring
      " . . 5 5 5 5 6 6 . .",  // Reconfigured
  }};
  expect_next(expected, {{xenbus_state::initialising, xenbus_state::closed}}, true, true);
}

TEST(handshake_table, waits_for_connected_once_the_ring_is_published) {
  const table expected = {{
      //- 0 1 2 3 4 5 6 7 8
      " X X X X X X X X X X",  // Unknown
      " X X X X X X X X X X",  // Initialising
      " X X X X X X X X X X",  // InitWait
      " X . X . . 4 6 6 . .",  // Initialised
      " X X X X X X X X X X",  // Connected
      " X X X X X X X X X X",  // Closing
      " X X X X X X X X X X",  // Closed
      " X X X X X X X X X X",  // Reconfiguring
      " X X X X X X X X X X",  // Reconfigured
  }};
  expect_next(expected, {waits_for_ring});
}

TEST(handshake_table, waits_for_connected_indefinitely) {
  const table expected = {{
      //- 0 1 2 3 4 5 6 7 8
      " X X X X X X X X X X",  // Unknown
      " X X X X X X X X X X",  // Initialising
      " X X X X X X X X X X",  // InitWait
      " X . X . . 4 6 6 . .",  // Initialised
      " X X X X X X X X X X",  // Connected
      " X X X X X X X X X X",  // Closing
      " X X X X X X X X X X",  // Closed
      " X X X X X X X X X X",  // Reconfiguring
      " X X X X X X X X X X",  // Reconfigured
  }};
  expect_next(expected, {waits_for_ring}, true, true);
}

TEST(handshake_table, reports_unplugged_while_waiting_for_connected) {
  const table expected = {{
      //- 0 1 2 3 4 5 6 7 8
      " X X X X X X X X X X",  // Unknown
      " X X X X X X X X X X",  // Initialising
      " X X X X X X X X X X",  // InitWait
      " X . X . . 4 U U . .",  // Initialised
      " X X X X X X X X X X",  // Connected
      " X X X X X X X X X X",  // Closing
      " X X X X X X X X X X",  // Closed
      " X X X X X X X X X X",  // Reconfiguring
      " X X X X X X X X X X",  // Reconfigured
  }};
  expect_next(expected, {waits_for_ring}, false);
}

TEST(handshake_table, stays_connected_until_either_end_changes_its_state) {
  const table expected = {{
      //- 0 1 2 3 4 5 6 7 8
      " X X X X X X X X X X",  // Unknown
      " X X X X X X X X X X",  // Initialising
      " X X X X X X X X X X",  // InitWait
      " X X X X X X X X X X",  // Initialised
      " X X X X X L C X . .",  // Connected
      " X X X X X X X X X X",  // Closing
      " X X X X X X X X X X",  // Closed
      " X X X X X X X X X X",  // Reconfiguring
      " X X X X X X X X X X",  // Reconfigured
  }};
  expect_next(expected, {waits_for_ring, took_ring});
}

TEST(handshake_table, stays_connected_regardless_of_online_and_time) {
  const table expected = {{
      //- 0 1 2 3 4 5 6 7 8
      " X X X X X X X X X X",  // Unknown
      " X X X X X X X X X X",  // Initialising
      " X X X X X X X X X X",  // InitWait
      " X X X X X X X X X X",  // Initialised
      " X X X X X L C X . .",  // Connected
      " X X X X X X X X X X",  // Closing
      " X X X X X X X X X X",  // Closed
      " X X X X X X X X X X",  // Reconfiguring
      " X X X X X X X X X X",  // Reconfigured
  }};
  expect_next(expected, {waits_for_ring, took_ring}, false, true);
}

TEST(handshake_table, closes_step_by_step) {
  const table expected = {{
      //- 0 1 2 3 4 5 6 7 8
      " = = 5 5 5 5 5 5 5 5",  // Unknown
      " = = = = = = = = = =",  // Initialising
      " 5 5 5 5 5 5 5 5 5 5",  // InitWait
      " 5 5 5 5 5 5 5 5 5 5",  // Initialised
      " 5 5 5 5 5 5 5 5 5 5",  // Connected
      " 6 6 6 6 . . 6 6 . .",  // Closing
      " = = = = . . . = . .",  // Closed
      " 5 5 5 5 5 5 5 5 5 5",  // Reconfiguring
      " 5 5 5 5 5 5 5 5 5 5",  // Reconfigured
  }};
  expect_table(expected, [](const handshake_view& view) { return next_close_step(view); });
}

TEST(handshake_table, closes_without_the_backend_after_a_long_wait) {
  const table expected = {{
      //- 0 1 2 3 4 5 6 7 8
      " = = 5 5 5 5 5 5 5 5",  // Unknown
      " = = = = = = = = = =",  // Initialising
      " 5 5 5 5 5 5 5 5 5 5",  // InitWait
      " 5 5 5 5 5 5 5 5 5 5",  // Initialised
      " 5 5 5 5 5 5 5 5 5 5",  // Connected
      " 6 6 6 6 6 6 6 6 6 6",  // Closing
      " = = = = = = = = = =",  // Closed
      " 5 5 5 5 5 5 5 5 5 5",  // Reconfiguring
      " 5 5 5 5 5 5 5 5 5 5",  // Reconfigured
  }};
  expect_table(expected, [](handshake_view view) {
    view.waited_long = true;
    return next_close_step(view);
  });
}

TEST(handshake, is_connected_after_finish) {
  handshake machine;
  EXPECT_EQ(machine.next(waits_for_ring), handshake_step::publish);
  EXPECT_FALSE(machine.is_connected());
  EXPECT_EQ(machine.next(took_ring), handshake_step::finish);
  EXPECT_TRUE(machine.is_connected());
}

TEST(handshake, publishes_once_when_init_wait_is_delivered_twice) {
  handshake machine;
  EXPECT_EQ(machine.next(waits_for_ring), handshake_step::publish);
  const handshake_view again{xenbus_state::initialised, xenbus_state::init_wait};
  EXPECT_EQ(machine.next(again), handshake_step::wait);
  EXPECT_EQ(machine.next(again), handshake_step::wait);
  EXPECT_EQ(machine.next(took_ring), handshake_step::finish);
}

TEST(handshake, every_step_has_a_name) {
  const std::array<std::string_view, 11> names = {
      "wait",       "set Closing", "set Closed", "set Initialising", "publish", "finish",
      "look again", "close",       "lost",       "unplugged",        "closed"};
  for (std::uint8_t i = 0; i < names.size(); ++i)
    EXPECT_EQ(to_string(handshake_step{i}), names[i]);
  EXPECT_EQ(to_string(handshake_step{11}), "invalid");
}

struct explanation {
  handshake_view view;
  std::optional<std::string_view> hotplug;
  std::string_view text;
};

TEST(handshake, explains_every_wait) {
  using enum xenbus_state;
  const explanation cases[] = {
      {{initialising, std::nullopt},
       {},
       "the backend directory does not exist (is the disk attached, and its backend domain "
       "running?)"},
      {{initialising, unknown}, {}, "backend is in Unknown: its domain is being shut down"},
      {{initialising, xenbus_state::initialising},
       {},
       "backend is in Initialising: no driver in the backend domain serves the disk (is "
       "xen-blkback loaded there?)"},
      {{closing, init_wait}, {}, "backend is in InitWait, waiting for this frontend's ring"},
      {{initialised, init_wait},
       {},
       "backend is in InitWait and has not accepted this frontend's ring; hotplug-status is "
       "missing: the hotplug script has not run"},
      {{initialised, init_wait},
       "error",
       "backend is in InitWait and has not accepted this frontend's ring; hotplug-status is "
       "'error': the hotplug script failed"},
      {{initialised, init_wait},
       "connected",
       "backend is in InitWait and has not accepted this frontend's ring; see the log of the "
       "backend domain"},
      {{initialised, initialised},
       {},
       "backend is in Initialised and has not switched to Connected"},
      {{closing, connected},
       {},
       "backend is still Connected to the device's previous user, while this frontend is in "
       "Closing"},
      {{connected, connected}, {}, "both ends are Connected"},
      {{initialising, closing},
       {},
       "backend is in Closing: requests of the device's previous user may still be running"},
      {{initialising, closed},
       {},
       "backend is in Closed and does not prepare for a new connection"},
      {{initialising, closed, false},
       {},
       "backend is in Closed with online=0 and does not prepare for a new connection"},
      {{initialising, reconfiguring}, {}, "backend is in Reconfiguring"},
      {{initialising, reconfigured}, {}, "backend is in Reconfigured"},
      {{initialising, xenbus_state{9}}, {}, "backend is in a state that xenbus.h does not define"},
  };
  for (const auto& item : cases)
    EXPECT_EQ(explain_wait(item.view, item.hotplug), item.text);
}

}  // namespace
}  // namespace xenpv::blkfront
