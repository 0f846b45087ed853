// Random traffic with wrapping indices on two rings in parallel: one with at least one end from
// this library, one with two Xen ends. All results and the shared headers must be equal.
#include <gtest/gtest.h>

#include <optional>
#include <random>

#include "unit/ring/xens_ring.hpp"

namespace xenpv::ring {
namespace {

using test::request_of;
using test::response_of;

struct start {
  unsigned page_order;
  std::uint32_t first;
};

void expect_same_header(test::ring_memory& ours, test::ring_memory& xens) {
  ASSERT_EQ(ours.xens()->req_prod, xens.xens()->req_prod);
  ASSERT_EQ(ours.xens()->rsp_prod, xens.xens()->rsp_prod);
}

/// The frontend and the backend of one ring.
template <class Front, class Back>
class pair {
 public:
  pair(Front& front, Back& back) : front_(front), back_(back) {}

  std::uint32_t free() { return front_.free(); }
  bool ask(std::uint64_t first_id, std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i)
      front_.put(request_of(first_id + i));
    return front_.publish();
  }
  std::uint32_t requests() { return count(back_.available()); }
  /// Takes `count` requests with consecutive IDs from `first_id`.
  void take_requests(std::uint64_t first_id, std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i)
      ASSERT_TRUE(test::is_request_of(back_.take(), first_id + i));
  }
  bool answer(std::uint64_t first_id, std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i)
      back_.put(response_of(first_id + i));
    return back_.publish();
  }
  bool arm_back() { return back_.arm(); }
  std::uint32_t responses() { return count(front_.available()); }
  void take_responses(std::uint64_t first_id, std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i)
      ASSERT_TRUE(test::is_response_of(front_.take(), first_id + i));
  }
  bool arm_front() { return front_.arm(); }

 private:
  static std::uint32_t count(std::uint32_t plain) { return plain; }
  static std::uint32_t count(std::optional<std::uint32_t> checked) { return checked.value(); }

  Front& front_;
  Back& back_;
};

struct traffic_counts {
  std::uint64_t asked = 0;
  std::uint64_t seen = 0;
  std::uint64_t answered = 0;
  std::uint64_t done = 0;
  std::uint64_t events = 0;
};

/// Performs the same random step on both rings.
template <class Ours, class Xens>
void step(std::mt19937& random, Ours& ours, Xens& xens, traffic_counts& n) {
  const auto up_to = [&](std::uint64_t most) {
    return static_cast<std::uint32_t>(
        std::uniform_int_distribution<std::uint64_t>(0, most)(random));
  };
  switch (up_to(5)) {
    case 0: {
      ASSERT_EQ(ours.free(), xens.free());
      const auto count = up_to(ours.free());
      const bool notify = ours.ask(n.asked, count);
      ASSERT_EQ(notify, xens.ask(n.asked, count));
      n.events += notify;
      n.asked += count;
      break;
    }
    case 1: {
      ASSERT_EQ(ours.requests(), n.asked - n.seen);
      ASSERT_EQ(xens.requests(), n.asked - n.seen);
      const auto count = up_to(n.asked - n.seen);
      ours.take_requests(n.seen, count);
      xens.take_requests(n.seen, count);
      n.seen += count;
      break;
    }
    case 2: {
      const auto count = up_to(n.seen - n.answered);
      const bool notify = ours.answer(n.answered, count);
      ASSERT_EQ(notify, xens.answer(n.answered, count));
      n.events += notify;
      n.answered += count;
      break;
    }
    case 3: {
      ASSERT_EQ(ours.responses(), n.answered - n.done);
      ASSERT_EQ(xens.responses(), n.answered - n.done);
      const auto count = up_to(n.answered - n.done);
      ours.take_responses(n.done, count);
      xens.take_responses(n.done, count);
      n.done += count;
      break;
    }
    case 4: {
      const bool sleeps = ours.arm_back();
      ASSERT_EQ(sleeps, xens.arm_back());
      ASSERT_EQ(sleeps, n.asked == n.seen);
      break;
    }
    default: {
      const bool sleeps = ours.arm_front();
      ASSERT_EQ(sleeps, xens.arm_front());
      ASSERT_EQ(sleeps, n.answered == n.done);
      break;
    }
  }
}

class wrapping_ring : public ::testing::TestWithParam<start> {
 protected:
  template <class Ours, class Xens>
  void compare(Ours ours, Xens xens) {
    std::mt19937 random(20260101 + GetParam().page_order);
    traffic_counts n;
    // Long enough for the indices to wrap, and for the ring to run empty often enough that an end
    // sleeps.
    while (n.done < 3000u * entries()) {
      step(random, ours, xens, n);
      if (HasFatalFailure()) break;
      expect_same_header(memory, reference);
      if (HasFatalFailure()) break;
    }
    EXPECT_GT(n.events, 500u);
    EXPECT_FALSE(HasFatalFailure()) << "after " << n.asked << " requests";
  }

  [[nodiscard]] static std::uint32_t entries() { return 32u << GetParam().page_order; }

  test::ring_memory memory{GetParam().page_order};
  test::ring_memory reference{GetParam().page_order};
  test::xens_front xens_front{reference, GetParam().first};
  test::xens_back xens_back{reference, GetParam().first};
};

TEST_P(wrapping_ring, front_behaves_like_xens) {
  blkif_front_ring front(memory.bytes(), GetParam().first);
  test::xens_back back(memory, GetParam().first);
  compare(pair(front, back), pair(xens_front, xens_back));
}

TEST_P(wrapping_ring, back_behaves_like_xens) {
  test::xens_front front(memory, GetParam().first);
  blkif_back_ring back(memory.bytes(), blkif_back_ring::start::at_published);
  compare(pair(front, back), pair(xens_front, xens_back));
}

TEST_P(wrapping_ring, both_ends_behave_like_xens) {
  blkif_front_ring front(memory.bytes(), GetParam().first);
  blkif_back_ring back(memory.bytes(), blkif_back_ring::start::at_published);
  compare(pair(front, back), pair(xens_front, xens_back));
}

INSTANTIATE_TEST_SUITE_P(starts, wrapping_ring,
                         ::testing::Values(start{0, 0}, start{0, 0xFFFFFFFF}, start{1, 0xFFFFFFE0},
                                           start{2, 0xFFFF0000}, start{3, 0xFFFFFF81},
                                           start{4, 0xFFFFF123}, start{0, 0x7FFFFF00}),
                         [](const auto& instance) {
                           return fmt::format("order_{}_from_{:x}", instance.param.page_order,
                                              instance.param.first);
                         });

TEST(overflow_at_the_wrap, is_detected_by_the_front) {
  test::ring_memory memory;
  blkif_front_ring front(memory.bytes(), 0xFFFFFFFE);
  for (std::uint64_t id = 0; id < 4; ++id)
    front.put(request_of(id));
  EXPECT_TRUE(front.publish());
  EXPECT_EQ(memory.xens()->req_prod, 2u);
  memory.xens()->rsp_prod = 2;
  EXPECT_EQ(front.available(), 4u);
  memory.xens()->rsp_prod = 3;
  EXPECT_EQ(front.available(), std::nullopt);
  memory.xens()->rsp_prod = 0xFFFFFFFD;
  EXPECT_EQ(front.available(), std::nullopt);
}

TEST(overflow_at_the_wrap, is_detected_by_the_back) {
  test::ring_memory memory;
  test::xens_front front(memory, 0xFFFFFFFE);
  blkif_back_ring back(memory.bytes(), blkif_back_ring::start::at_published);
  memory.xens()->req_prod = 30;
  EXPECT_EQ(back.available(), 32u);
  memory.xens()->req_prod = 31;
  EXPECT_EQ(back.available(), std::nullopt);
  memory.xens()->req_prod = 0xFFFFFFFD;
  EXPECT_EQ(back.available(), std::nullopt);
}

TEST(long_traffic, handles_a_million_requests) {
  test::ring_memory memory;
  blkif_front_ring front(memory.bytes());
  test::xens_back back(memory);
  for (std::uint64_t id = 0; id < 1'000'000; ++id) {
    front.put(request_of(id));
    ASSERT_TRUE(front.publish());
    ASSERT_TRUE(test::is_request_of(back.take(), id));
    back.put(response_of(id));
    ASSERT_TRUE(back.publish());
    ASSERT_EQ(front.available(), 1u);
    ASSERT_TRUE(test::is_response_of(front.take(), id));
    ASSERT_TRUE(front.arm());
    ASSERT_TRUE(back.arm());
  }
  EXPECT_EQ(front.requests_put(), 1'000'000u);
}

}  // namespace
}  // namespace xenpv::ring
