#include "async/event_batch.hpp"

#include <gmock/gmock.h>

#include <boost/asio/io_context.hpp>
#include <optional>
#include <string>
#include <vector>

#include "unit/async/fake_evtchn.hpp"
#include "xenpv/async/event_loop.hpp"

namespace xenpv::async {
namespace {

using ::testing::ElementsAre;

class event_batch_test : public ::testing::Test {
 protected:
  std::vector<std::string> ran;
  batch_task first{[this] { ran.emplace_back("first"); }};
  batch_task second{[this] { ran.emplace_back("second"); }};
};

TEST_F(event_batch_test, refuses_tasks_while_there_is_no_batch) {
  EXPECT_FALSE(event_batch::add(first));
  EXPECT_THAT(ran, ElementsAre());
}

TEST_F(event_batch_test, runs_each_task_once_in_order_at_the_end) {
  {
    const event_batch batch;
    EXPECT_TRUE(event_batch::add(second));
    EXPECT_TRUE(event_batch::add(first));
    EXPECT_TRUE(event_batch::add(second));
    EXPECT_THAT(ran, ElementsAre());
  }
  EXPECT_THAT(ran, ElementsAre("second", "first"));
  const event_batch next;
  EXPECT_TRUE(event_batch::add(first));
}

TEST_F(event_batch_test, ends_with_the_outermost_object) {
  const std::optional<event_batch> outer(std::in_place);
  {
    const event_batch inner;
    EXPECT_TRUE(event_batch::add(first));
  }
  EXPECT_THAT(ran, ElementsAre());
  EXPECT_TRUE(event_batch::add(second));
}

TEST_F(event_batch_test, refuses_tasks_that_a_task_adds_at_the_end) {
  bool is_added = true;
  batch_task adds([&] { is_added = event_batch::add(first); });
  {
    const event_batch batch;
    EXPECT_TRUE(event_batch::add(adds));
  }
  EXPECT_FALSE(is_added);
  EXPECT_THAT(ran, ElementsAre());
}

TEST_F(event_batch_test, forgets_tasks_that_are_destroyed) {
  {
    const event_batch batch;
    std::optional<batch_task> lost(std::in_place, [this] { ran.emplace_back("lost"); });
    EXPECT_TRUE(event_batch::add(first));
    EXPECT_TRUE(event_batch::add(*lost));
    lost.reset();
    EXPECT_TRUE(event_batch::add(second));
    lost.emplace([this] { ran.emplace_back("lost"); });
  }
  EXPECT_THAT(ran, ElementsAre("first", "second"));
}

TEST_F(event_batch_test, spans_all_ports_that_the_event_loop_reads_at_once) {
  asio::io_context context{1};
  event_loop loop(context);
  auto one = loop.bind_unbound(domid_0);
  auto other = loop.bind_unbound(domid_0);
  for (auto* const each : {&one, &other})
    each->on_event([this] {
      ran.emplace_back("event");
      EXPECT_TRUE(event_batch::add(first));
    });
  test::device.raise(raw(one.number()));
  test::device.raise(raw(other.number()));
  context.poll();
  EXPECT_THAT(ran, ElementsAre("event", "event", "first"));
  one = {};
  other = {};
  loop.close();
  test::device.clear();
}

}  // namespace
}  // namespace xenpv::async
