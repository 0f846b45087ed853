// Repeatedly lets one end publish at the moment when the other end goes to sleep. At least one end
// must see the other end's write. Without the full barriers, both ends sometimes miss it, and the
// wake-up is lost.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "unit/ring/xens_ring.hpp"

namespace xenpv::ring {
namespace {

/// A barrier for two threads, which then continue within nanoseconds of each other.
class meeting {
 public:
  void arrive(unsigned side) {
    const auto round = arrived_[side].fetch_add(1) + 1;
    // Yields after some time, for machines with one CPU.
    for (unsigned spins = 0; arrived_[1 - side].load() < round; ++spins)
      if (spins > 2000) std::this_thread::yield();
  }

 private:
  std::atomic<std::uint32_t> arrived_[2] = {};
};

/// Spins for a short random time, to vary how the threads interleave.
void spin_randomly(std::mt19937& random) {
  for (auto turns = random() % 32; turns > 0; --turns)
    std::atomic_signal_fence(std::memory_order_seq_cst);
}

TEST(ring_ends_at_the_same_moment, never_both_miss_each_other) {
  constexpr std::size_t rounds = 40'000;
  test::ring_memory memory;
  blkif_front_ring front(memory.bytes());
  blkif_back_ring back(memory.bytes());
  meeting together;
  struct outcome {
    bool publisher_rings = false;
    bool other_sleeps = false;
  };
  std::vector<outcome> requests(rounds);
  std::vector<outcome> responses(rounds);

  std::thread backend([&] {
    std::mt19937 random(2);
    for (std::size_t i = 0; i < rounds; ++i) {
      together.arrive(1);
      spin_randomly(random);
      requests[i].other_sleeps = back.arm();
      together.arrive(1);
      back.put(test::response_of(back.take().id));
      together.arrive(1);
      spin_randomly(random);
      responses[i].publisher_rings = back.publish();
      together.arrive(1);
    }
  });
  std::mt19937 random(1);
  for (std::size_t i = 0; i < rounds; ++i) {
    front.put(test::request_of(i));
    together.arrive(0);
    spin_randomly(random);
    requests[i].publisher_rings = front.publish();
    together.arrive(0);
    together.arrive(0);
    spin_randomly(random);
    responses[i].other_sleeps = front.arm();
    together.arrive(0);
    static_cast<void>(front.take());
  }
  backend.join();

  const auto lost = [](const outcome& o) { return o.other_sleeps && !o.publisher_rings; };
  EXPECT_EQ(std::count_if(requests.begin(), requests.end(), lost), 0);
  EXPECT_EQ(std::count_if(responses.begin(), responses.end(), lost), 0);
}

}  // namespace
}  // namespace xenpv::ring
