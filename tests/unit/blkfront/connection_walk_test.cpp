// Visits every reachable state of connection_machine. To each state, it applies every event that a
// driver, a backend, a toolstack or an interruption can cause there.
#include <array>
#include <cstdio>
#include <deque>
#include <map>
#include <tuple>
#include <vector>

#include "unit/blkfront/connection_machine_rig.hpp"

namespace xenpv::blkfront {
namespace {

std::vector<device_view> all_views() {
  std::vector<device_view> out;
  for (unsigned own = 0; own < 9; ++own)
    for (unsigned backend = 0; backend < 10; ++backend)
      for (const bool online : {false, true})
        for (const bool waited : {false, true})
          for (const auto node : {backend_node::same, backend_node::other, backend_node::removed})
            for (const bool rebuilt : {false, true}) {
              device_view view;
              view.states.own = static_cast<xenbus_state>(own);
              if (backend > 0) view.states.backend = static_cast<xenbus_state>(backend - 1);
              view.states.online = online;
              view.states.waited_long = waited;
              view.node = node;
              view.rebuilt = rebuilt;
              out.push_back(view);
            }
  return out;
}

bool answers_with_view(step s) {
  return s == step::look || s == step::confirm || s == step::wait || s == step::part;
}

bool is_end(connection_state state) {
  return state == connection_state::unplugged || state == connection_state::failed ||
         state == connection_state::closed;
}

/// The state of the ring that the backend may have mapped, as tracked by a driver.
enum class ring_state : std::uint8_t { none, published, in_use };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr unsigned refusals_max = 0;  // a sanitizer makes the walk thirty times slower
#else
constexpr unsigned refusals_max = 3;
#endif

struct node {
  connection_machine machine;
  step under_way = step::rest;
  ring_state ring = ring_state::none;
  friend bool operator==(const node&, const node&) = default;
};

ring_state ring_after(ring_state before, step s, kind outcome) {
  switch (s) {
    case step::publish:
      // A failed publish may have taken effect in part.
      return ring_state::published;
    case step::finish:
      return outcome == kind::done ? ring_state::in_use : before;
    case step::suspend:
    case step::withdraw:
    case step::rebind:
    case step::release:
      return ring_state::none;
    case step::read_device:
    case step::look:
    case step::confirm:
    case step::wait:
    case step::set_closing:
    case step::set_closed:
    case step::set_initialising:
    case step::reread:
    case step::back_off:
    case step::abandon:
    case step::pause:
    case step::shut:
    case step::drain:
    case step::fail:
    case step::part:
    case step::rest:
      return before;
  }
  return before;
}

class exploration {
 public:
  void run() {
    add({});
    for (std::size_t at = 0; at < nodes_.size(); ++at)
      expand(nodes_[at]);
  }
  [[nodiscard]] const std::deque<node>& nodes() const { return nodes_; }
  [[nodiscard]] std::uint64_t transitions() const { return transitions_; }

 private:
  void expand(const node& source) {
    for (const auto cause :
         {interruption::resumed, interruption::distrusted, interruption::out_of_time}) {
      auto successor = source;
      if (successor.machine.interrupt(cause)) add(successor);
    }
    take(source, {kind::close, {}});
    if (source.under_way == step::rest) {
      if (source.machine.state() == connection_state::unopened) take(source, {kind::open, {}});
      return;
    }
    take(source, {kind::failed, {}});
    if (source.under_way == step::finish) take(source, {kind::wrong_disk, {}});
    if (source.under_way == step::wait && source.machine.is_interrupted())
      take(source, {kind::changed, {}});
    // A driver gives up after more than `refusals_max` refusals.
    if (source.under_way == step::back_off && source.machine.refusals() > refusals_max) return;
    if (!answers_with_view(source.under_way)) return take(source, {kind::done, {}});
    for (const auto& view : views_)
      take(source, {kind::view, view});
  }

  void take(const node& source, const connection_event& event) {
    ++transitions_;
    auto successor = source;
    const auto action = successor.machine.next(event);
    successor.under_way = action.step;
    if (event.what != kind::close && event.what != kind::open)
      successor.ring = ring_after(source.ring, source.under_way, event.what);
    check(source, event, successor, action);
    add(successor);
  }

  void check(const node& source, const connection_event& event, const node& successor,
             const connection_action& action) {
    const auto state = successor.machine.state();
    // A ring must be released before the next one is published.
    if (action.step == step::publish) {
      EXPECT_EQ(successor.ring, ring_state::none);
    }
    if (action.step == step::finish) {
      EXPECT_EQ(successor.ring, ring_state::published);
    }
    // A connected device has a ring in use; a device in an end state has none.
    if (state == connection_state::connected) {
      EXPECT_EQ(successor.ring, ring_state::in_use);
    }
    if (is_end(state) && source.machine.state() != connection_state::unopened) {
      EXPECT_EQ(successor.ring, ring_state::none) << to_string(source.machine.state());
    }
    // The machine rests only in an end state or before it is opened.
    EXPECT_EQ(action.step == step::rest, is_end(state) || state == connection_state::unopened);
    // An end state is final.
    if (is_end(source.machine.state())) {
      EXPECT_EQ(state, source.machine.state());
    }
    if (action.step == step::suspend && action.loss == connection_loss::orderly)
      check_orderly(source, event);
    if (successor.machine.loss() == connection_loss::orderly &&
        source.machine.loss() == connection_loss::abrupt) {
      EXPECT_EQ(action.step, step::suspend) << "an abrupt loss does not become orderly";
    }
  }

  /// A loss is orderly only after a complete closing handshake or a resume.
  static void check_orderly(const node& source, const connection_event& event) {
    if (source.machine.is_resumed()) return;
    EXPECT_EQ(source.machine.state(), connection_state::parting);
    EXPECT_EQ(event.what, kind::view);
    EXPECT_EQ(event.view.states.own, closed);
    EXPECT_EQ(event.view.states.backend, closed);
    EXPECT_EQ(event.view.node, backend_node::same);
    EXPECT_FALSE(event.view.rebuilt);
  }

  void add(const node& n) {
    auto& bucket = seen_[std::tuple(n.machine.state(), n.under_way, n.ring)];
    for (const auto index : bucket)
      if (nodes_[index] == n) return;
    bucket.push_back(nodes_.size());
    nodes_.push_back(n);
  }

  const std::vector<device_view> views_ = all_views();
  std::deque<node> nodes_;
  std::map<std::tuple<connection_state, step, ring_state>, std::vector<std::size_t>> seen_;
  std::uint64_t transitions_ = 0;
};

/// The maximum number of steps that a close takes, whether the steps succeed or fail.
constexpr unsigned longest_close = 6;

void expect_close_ends(node source) {
  auto action = source.machine.next({kind::close, {}});
  for (unsigned i = 0; i < longest_close && action.step != step::rest; ++i)
    action = source.machine.next({i % 2 == 0 ? kind::failed : kind::done, {}});
  EXPECT_EQ(action.step, step::rest) << to_string(source.machine.state());
  EXPECT_TRUE(is_end(source.machine.state()));
}

TEST(connection_machine, keeps_its_invariants_in_every_reachable_state) {
  exploration all;
  all.run();
  RecordProperty("states", static_cast<int>(all.nodes().size()));
  std::printf("%zu states, %llu transitions\n", all.nodes().size(),
              static_cast<unsigned long long>(all.transitions()));
  EXPECT_GT(all.nodes().size(), 200U);
  for (const auto& reached : all.nodes())
    expect_close_ends(reached);
}

}  // namespace
}  // namespace xenpv::blkfront
