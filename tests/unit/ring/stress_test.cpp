// Both ends of a ring, each on its own thread, sleep whenever arm() permits. If an end sleeps and
// is not notified, a wake-up was lost.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <thread>
#include <vector>

#include "unit/ring/xens_ring.hpp"
#include "xenpv/base/unique_fd.hpp"

namespace xenpv::ring {
namespace {

/// Acts as an event channel: notifications are merged until wait() consumes them.
class bell {
 public:
  void ring() {
    const std::uint64_t one = 1;
    ASSERT_EQ(::write(descriptor_.get(), &one, sizeof one), ssize_t{sizeof one});
  }
  /// Returns false if no notification arrives within 30 s, far longer than any notification takes.
  [[nodiscard]] bool wait() {
    pollfd ready{descriptor_.get(), POLLIN, 0};
    if (::poll(&ready, 1, 30'000) != 1) return false;
    std::uint64_t rings = 0;
    return ::read(descriptor_.get(), &rings, sizeof rings) == ssize_t{sizeof rings};
  }

 private:
  unique_fd descriptor_{::eventfd(0, EFD_CLOEXEC)};
};

struct line {
  bell to_back;
  bell to_front;
};

/// Responds to `total` requests in random order.
void serve(blkif_back_ring& back, line& bells, std::uint64_t total) {
  std::mt19937 random(2);
  std::vector<std::uint64_t> taken;
  for (std::uint64_t answered = 0; answered < total;) {
    const auto available = back.available();
    ASSERT_TRUE(available.has_value());
    for (auto left = *available; left > 0; --left) {
      const auto request = back.take();
      ASSERT_TRUE(test::is_request_of(request, request.id));
      taken.push_back(request.id);
    }
    if (taken.empty()) {
      const bool idle = back.arm();
      ASSERT_TRUE(!idle || bells.to_back.wait()) << "the backend was not woken";
      continue;
    }
    // Responds only to some requests, so that the ring is rarely empty.
    for (auto count = 1 + random() % taken.size(); count > 0; --count) {
      std::swap(taken[random() % taken.size()], taken.back());
      back.put(test::response_of(taken.back()));
      taken.pop_back();
      ++answered;
    }
    if (back.publish()) bells.to_front.ring();
  }
}

void take_all(blkif_front_ring& front, std::uint32_t available, std::vector<bool>& done,
              std::uint64_t& count) {
  for (; available > 0; --available) {
    const auto response = front.take();
    ASSERT_TRUE(test::is_response_of(response, response.id));
    ASSERT_LT(response.id, done.size());
    ASSERT_FALSE(done[response.id]) << response.id << " answered twice";
    done[response.id] = true;
    ++count;
  }
}

/// Sends `total` requests. If `coalesces` is true, sleeps until the backend has responded to half
/// of the requests in flight.
void drive(blkif_front_ring& front, line& bells, std::uint64_t total, bool coalesces) {
  std::mt19937 random(1);
  std::vector<bool> done(total, false);
  std::uint64_t sent = 0;
  for (std::uint64_t received = 0; received < total;) {
    const auto room = std::min<std::uint64_t>(front.free(), total - sent);
    for (auto count = room == 0 ? 0 : 1 + random() % room; count > 0; --count)
      front.put(test::request_of(sent++));
    if (front.publish()) bells.to_back.ring();
    const auto available = front.available();
    ASSERT_TRUE(available.has_value());
    take_all(front, *available, done, received);
    if (::testing::Test::HasFatalFailure()) return;
    if (*available > 0 || front.in_flight() == 0) continue;
    const auto distance = coalesces ? std::max(1u, front.in_flight() / 2) : 1u;
    const bool idle = front.arm(distance);
    ASSERT_TRUE(!idle || bells.to_front.wait()) << "the frontend was not woken";
  }
}

struct load {
  const char* name;
  unsigned page_order;
  std::uint32_t first;
  bool coalesces;
};

class ring_of_two_threads : public ::testing::TestWithParam<load> {};

TEST_P(ring_of_two_threads, loses_no_request_and_no_wake_up) {
  constexpr std::uint64_t total = 200'000;
  test::ring_memory memory(GetParam().page_order);
  blkif_front_ring front(memory.bytes(), GetParam().first);
  blkif_back_ring back(memory.bytes(), blkif_back_ring::start::at_published);
  line bells;
  std::thread server([&] { serve(back, bells, total); });
  drive(front, bells, total, GetParam().coalesces);
  server.join();
  EXPECT_EQ(front.in_flight(), 0u);
  EXPECT_EQ(back.in_flight(), 0u);
  EXPECT_EQ(front.available(), 0u);
}

INSTANTIATE_TEST_SUITE_P(loads, ring_of_two_threads,
                         ::testing::Values(load{"one_page", 0, 0, false},
                                           load{"over_the_wrap", 0, 0xFFFFF000, false},
                                           load{"coalescing_front", 0, 0, true},
                                           load{"sixteen_pages", 4, 0xFFFF8000, true}),
                         [](const auto& instance) { return instance.param.name; });

/// Sends requests one at a time, so that both ends sleep between requests.
void drive_in_turns(blkif_front_ring& front, line& bells, std::uint64_t total) {
  for (std::uint64_t id = 0; id < total; ++id) {
    front.put(test::request_of(id));
    if (front.publish()) bells.to_back.ring();
    // A late event for the previous request is a spurious wake-up.
    while (front.available() == 0u) {
      const bool idle = front.arm();
      ASSERT_TRUE(!idle || bells.to_front.wait()) << "not woken for request " << id;
    }
    ASSERT_EQ(front.available(), 1u);
    ASSERT_TRUE(test::is_response_of(front.take(), id));
  }
}

TEST(ring_of_two_threads_in_turns, wake_each_other_for_every_request) {
  constexpr std::uint64_t total = 20'000;
  test::ring_memory memory;
  blkif_front_ring front(memory.bytes());
  blkif_back_ring back(memory.bytes());
  line bells;
  std::thread server([&] { serve(back, bells, total); });
  drive_in_turns(front, bells, total);
  server.join();
}

}  // namespace
}  // namespace xenpv::ring
