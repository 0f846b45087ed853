// Complete handshakes with a well-behaved backend: scenarios, and random walks from every pair of
// states.
#include <gmock/gmock.h>

#include <random>

#include "unit/blkfront/model_backend.hpp"

namespace xenpv::blkfront {
namespace {

using enum wire::xenbus_state;
using ::testing::ElementsAre;
using wire::xenbus_state;

/// Returns the steps until the machine is connected or makes no progress. The backend reacts
/// immediately.
std::vector<std::string> connect(handshake& machine, model_backend& backend) {
  std::vector<std::string> steps;
  for (unsigned i = 0; i < 100; ++i) {
    const auto step = machine.next(backend.view());
    if (step == handshake_step::wait && !backend.has_to_do()) return steps;
    if (step != handshake_step::wait) steps.emplace_back(to_string(step));
    if (!carry_out(step, backend) && step != handshake_step::wait) return steps;
    if (machine.is_connected()) return steps;
    backend.settle();
  }
  steps.emplace_back("never ends");
  return steps;
}

std::vector<std::string> close(model_backend& backend) {
  std::vector<std::string> steps;
  for (unsigned i = 0; i < 100; ++i) {
    const auto step = next_close_step(backend.view());
    steps.emplace_back(to_string(step));
    if (!carry_out(step, backend)) return steps;
    backend.settle();
  }
  return steps;
}

model_backend backend_in(xenbus_state own, std::optional<xenbus_state> state) {
  model_backend backend;
  backend.front = own;
  backend.state = state;
  return backend;
}

struct connected_pair {
  handshake machine;
  model_backend backend;
  connected_pair() { (void)connect(machine, backend); }
  handshake_step next() { return machine.next(backend.view()); }
};

TEST(handshake_story, connects_to_a_disk_that_was_just_attached) {
  handshake machine;
  auto backend = backend_in(initialising, init_wait);
  EXPECT_THAT(connect(machine, backend), ElementsAre("publish", "finish"));
  EXPECT_EQ(backend.rings, 1u);
  EXPECT_EQ(backend.front, connected);
}

TEST(handshake_story, takes_over_from_a_process_that_was_killed) {
  handshake machine;
  auto backend = backend_in(connected, connected);
  EXPECT_THAT(connect(machine, backend),
              ElementsAre("set Closing", "set Closed", "set Initialising", "publish", "finish"));
  EXPECT_EQ(machine.refusals(), 0u);
}

TEST(handshake_story, takes_over_a_disk_from_which_the_kernel_was_unbound) {
  handshake machine;
  auto backend = backend_in(closed, closed);
  EXPECT_THAT(connect(machine, backend), ElementsAre("set Initialising", "publish", "finish"));
}

TEST(handshake_story, does_not_reuse_a_ring_that_a_dead_process_published) {
  handshake machine;
  auto backend = backend_in(initialised, init_wait);
  EXPECT_THAT(connect(machine, backend),
              ElementsAre("set Closing", "set Closed", "set Initialising", "publish", "finish"));
}

TEST(handshake_story, retries_while_a_busy_backend_refuses) {
  handshake machine;
  auto backend = backend_in(connected, connected);
  backend.busy = true;
  unsigned publishes = 0;
  while (machine.refusals() < 3) {
    const auto step = machine.next(backend.view());
    if (step == handshake_step::publish) ++publishes;
    (void)carry_out(step, backend);
    backend.settle();
    ASSERT_LE(publishes, 3u);
  }
  EXPECT_EQ(publishes, 3u);
  EXPECT_EQ(backend.rings, 0u);
  backend.busy = false;
  EXPECT_THAT(connect(machine, backend), ElementsAre("set Initialising", "publish", "finish"));
  EXPECT_EQ(machine.refusals(), 3u);
  EXPECT_EQ(backend.rings, 1u);
}

TEST(handshake_story, waits_for_a_backend_that_does_not_exist_yet) {
  handshake machine;
  auto backend = backend_in(initialising, std::nullopt);
  EXPECT_THAT(connect(machine, backend), ElementsAre());
  backend.state = initialising;
  EXPECT_THAT(connect(machine, backend), ElementsAre());
  backend.state = init_wait;
  EXPECT_THAT(connect(machine, backend), ElementsAre("publish", "finish"));
}

TEST(handshake_story, closes_when_the_toolstack_unplugs_the_disk) {
  connected_pair pair;
  pair.backend.online = false;
  EXPECT_EQ(pair.next(), handshake_step::look_again);
  pair.backend.state = closing;
  EXPECT_EQ(pair.next(), handshake_step::close);
  EXPECT_THAT(close(pair.backend), ElementsAre("set Closing", "set Closed", "closed"));
  EXPECT_EQ(pair.backend.state, closed);
  handshake later;
  EXPECT_EQ(later.next(pair.backend.view()), handshake_step::unplugged);
}

TEST(handshake_story, looks_again_whenever_connected_is_written) {
  connected_pair pair;
  EXPECT_EQ(pair.next(), handshake_step::look_again);
  EXPECT_EQ(pair.next(), handshake_step::look_again);
}

TEST(handshake_story, detects_a_restart_of_the_backend) {
  connected_pair pair;
  pair.backend.state = init_wait;
  EXPECT_EQ(pair.next(), handshake_step::lost);
  pair.backend.state = std::nullopt;
  EXPECT_EQ(pair.next(), handshake_step::lost);
}

TEST(handshake_story, detects_that_its_directory_was_recreated) {
  connected_pair pair;
  pair.backend.front = initialising;
  EXPECT_EQ(pair.next(), handshake_step::lost);
  EXPECT_THAT(close(pair.backend), ElementsAre("closed"))
      << "the new directory has no connection to close";
}

TEST(handshake_story, detects_a_new_directory_while_it_waits_for_connected) {
  handshake machine;
  auto backend = backend_in(initialising, init_wait);
  EXPECT_EQ(machine.next(backend.view()), handshake_step::publish);
  // The destination host's toolstack has written a new directory.
  EXPECT_EQ(machine.next(backend.view()), handshake_step::lost);
}

TEST(handshake_story, gives_up_on_a_backend_that_disappears_before_it_connects) {
  handshake machine;
  auto backend = backend_in(initialising, init_wait);
  EXPECT_EQ(machine.next(backend.view()), handshake_step::publish);
  backend.write_front(initialised);
  backend.state = std::nullopt;
  EXPECT_EQ(machine.next(backend.view()), handshake_step::lost);
}

TEST(handshake_story, closes_a_connection_so_that_another_can_follow) {
  connected_pair pair;
  EXPECT_THAT(close(pair.backend), ElementsAre("set Closing", "set Closed", "closed"));
  handshake next;
  EXPECT_THAT(connect(next, pair.backend), ElementsAre("set Initialising", "publish", "finish"));
  EXPECT_EQ(pair.backend.rings, 2u);
}

TEST(handshake_story, does_not_recreate_a_removed_device_on_close) {
  EXPECT_EQ(next_close_step({unknown, std::nullopt}), handshake_step::closed);
}

/// A random walk from any pair of states: both ends, the clock and the watches advance in random
/// order.
class walk {
 public:
  walk(model_backend start, std::uint32_t seed) : backend_(start), random_(seed) {}

  /// Returns the number of steps until the machine is connected, or 0 if it does not connect.
  [[nodiscard]] unsigned run() {
    for (unsigned i = 1; i <= 400; ++i) {
      if (machine_.is_connected()) return i;
      if (random_() % 2 == 0) {
        move_backend();
        continue;
      }
      auto view = backend_.view();
      view.waited_long = random_() % 8 == 0;
      const auto step = machine_.next(view);
      if (step == handshake_step::lost || step == handshake_step::unplugged) return 0;
      (void)carry_out(step, backend_);
    }
    return 0;
  }

 private:
  void move_backend() {
    // The backend driver starts without an event from the frontend.
    if (!backend_.state || backend_.state == unknown || backend_.state == initialising)
      backend_.state = !backend_.state ? initialising : init_wait;
    else
      backend_.step();
  }

  handshake machine_;
  model_backend backend_;
  std::mt19937 random_;
};

TEST(handshake_walk, reaches_connected_from_every_pair_of_states) {
  unsigned most = 0;
  for (unsigned own = 0; own <= 8; ++own) {
    // Block backends do not use Reconfiguring and Reconfigured.
    for (unsigned state = 0; state <= 7; ++state) {
      for (std::uint32_t seed = 0; seed < 300; ++seed) {
        auto start = backend_in(static_cast<xenbus_state>(own), std::nullopt);
        if (state > 0) start.state = static_cast<xenbus_state>(state - 1);
        // Every watch fires once when it is registered.
        start.write_front(start.front);
        const auto steps = walk(start, seed).run();
        ASSERT_NE(steps, 0u) << "own " << own << ", backend " << state << ", seed " << seed;
        most = std::max(most, steps);
      }
    }
  }
  EXPECT_LT(most, 300u);
}

TEST(handshake_walk, reaches_connected_without_events_from_states_left_by_a_dead_process) {
  struct pair {
    xenbus_state own, backend;
  };
  for (const auto& [own, state] :
       {pair{initialising, init_wait}, pair{initialising, closed}, pair{initialised, init_wait},
        pair{initialised, connected}, pair{connected, connected}, pair{connected, closing},
        pair{closing, closing}, pair{closed, closed}}) {
    for (std::uint32_t seed = 0; seed < 300; ++seed)
      ASSERT_NE(walk(backend_in(own, state), seed).run(), 0u)
          << to_string(own) << ' ' << to_string(state);
  }
}

}  // namespace
}  // namespace xenpv::blkfront
