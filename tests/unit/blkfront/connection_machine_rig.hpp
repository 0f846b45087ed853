// Shared by the connection_machine tests: a test-controlled driver, and helpers that reach common
// states.
#pragma once

#include <gmock/gmock.h>

#include <optional>

#include "blkfront/connection_machine.hpp"

namespace xenpv::blkfront {

using kind = connection_event::kind;
using step = connection_step;
using enum wire::xenbus_state;
using wire::xenbus_state;

inline device_view view_of(xenbus_state own, std::optional<xenbus_state> backend,
                           bool online = true) {
  device_view view;
  view.states.own = own;
  view.states.backend = backend;
  view.states.online = online;
  return view;
}

/// Drives a connection machine step by step.
struct driver {
  connection_machine machine;
  connection_action action;

  step post(kind event) {
    action = machine.next({event, {}});
    return action.step;
  }
  step see(const device_view& view) {
    action = machine.next({kind::view, view});
    return action.step;
  }
  step see(xenbus_state own, std::optional<xenbus_state> backend, bool online = true) {
    return see(view_of(own, backend, online));
  }
  [[nodiscard]] connection_state state() const { return machine.state(); }
};

/// Takes a machine from `read_device` to Connected.
inline void connect(driver& d) {
  ASSERT_EQ(d.action.step, step::read_device);
  EXPECT_EQ(d.post(kind::done), step::look);
  EXPECT_EQ(d.see(initialising, init_wait), step::publish);
  EXPECT_EQ(d.post(kind::done), step::look);
  EXPECT_EQ(d.see(initialised, connected), step::finish);
  EXPECT_EQ(d.post(kind::done), step::wait);
  EXPECT_EQ(d.state(), connection_state::connected);
}

inline driver connected_machine() {
  driver d;
  EXPECT_EQ(d.post(kind::open), step::read_device);
  connect(d);
  return d;
}

inline void expect_loss(const driver& d, loss_reason reason, connection_loss loss) {
  EXPECT_EQ(d.action.step, step::suspend);
  EXPECT_EQ(d.action.loss, loss);
  EXPECT_EQ(d.machine.loss(), loss);
  EXPECT_EQ(d.machine.reason(), reason);
  EXPECT_EQ(d.state(), connection_state::recovering);
}

/// Returns a machine after a complete closing handshake that the backend began.
inline driver parted_machine() {
  auto d = connected_machine();
  EXPECT_EQ(d.see(connected, closing), step::part);
  EXPECT_EQ(d.state(), connection_state::parting);
  EXPECT_EQ(d.see(closed, closed), step::suspend);
  return d;
}

}  // namespace xenpv::blkfront
