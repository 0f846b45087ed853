#include "async/watch_queue.hpp"

#include <gtest/gtest.h>

namespace xenpv::async {
namespace {

TEST(watch_queue, returns_events_in_order) {
  watch_queue queue("device");
  queue.push("device/a");
  queue.push("device/b");
  queue.push("device/a");
  EXPECT_EQ(queue.pop(), (watch_event{.path = "device/a"}));
  EXPECT_EQ(queue.pop(), (watch_event{.path = "device/b"}));
  EXPECT_EQ(queue.pop(), (watch_event{.path = "device/a"}));
  EXPECT_EQ(queue.pop(), std::nullopt);
}

TEST(watch_queue, merges_events_of_one_path_only_when_full) {
  watch_queue queue("device", 2);
  queue.push("device/a");
  queue.push("device/b");
  queue.push("device/a");
  EXPECT_EQ(queue.pop(), (watch_event{.path = "device/a"}));
  EXPECT_EQ(queue.pop(), (watch_event{.path = "device/b"}));
  EXPECT_EQ(queue.pop(), std::nullopt);
}

TEST(watch_queue, reports_an_overflow_when_it_drops_events) {
  watch_queue queue("device", 2);
  queue.push("device/a");
  queue.push("device/b");
  queue.push("device/c");
  EXPECT_EQ(queue.pop(), (watch_event{.path = "device", .overflowed = true}));
  EXPECT_EQ(queue.pop(), std::nullopt);
}

TEST(watch_queue, continues_after_an_overflow) {
  watch_queue queue("device", 2);
  for (const auto* path : {"device/a", "device/b", "device/c", "device/d", "device/e"})
    queue.push(path);
  // device/d fits after the overflow event. device/e does not; the overflow event covers it too.
  EXPECT_EQ(queue.pop(), (watch_event{.path = "device", .overflowed = true}));
  EXPECT_EQ(queue.pop(), (watch_event{.path = "device/d"}));
  EXPECT_EQ(queue.pop(), std::nullopt);
}

}  // namespace
}  // namespace xenpv::async
