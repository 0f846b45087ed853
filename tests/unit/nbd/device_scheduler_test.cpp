// The order in which the connections of a queue use the device.
#include "nbd/device_scheduler.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <deque>

#include "bytes.hpp"
#include "fake_device.hpp"

namespace xenpv::nbd::test {
namespace {

std::uint64_t test_time = 0;

class device_scheduler_test : public testing::Test {
 protected:
  struct connection {
    explicit connection(device_scheduler& s) : scheduler(s) { scheduler.add(flow); }
    ~connection() {
      if (finish) finish();
      scheduler.remove(flow);
    }
    std::function<void()> finish;  ///< completes all requests
    device_scheduler& scheduler;
    device_scheduler::flow flow;
    std::size_t done = 0;
  };
  struct tracked : device_request {
    connection* user = nullptr;
  };

  device_scheduler_test() { test_time = 1'000'000'000; }

  fake_queue& queue(std::size_t index = 0) { return device_.queue(index); }

  void submit(connection& user, std::uint64_t length, std::uint64_t offset = 0,
              blk::operation op = blk::operation::write) {
    user.finish = [this] {
      queue(0).answer_all();
      queue(1).answer_all();
    };
    auto& r = requests_.emplace_back();
    r.user = &user;
    r.op = op;
    r.offset = offset;
    r.length = length;
    r.memory = memory_.data();
    r.done = [](blk::request& completed) {
      auto& self = static_cast<tracked&>(completed);
      self.user->scheduler.finished(self.user->flow, self);
      ++self.user->done;
    };
    user.scheduler.submit(user.flow, r);
    queue().commit();
    queue(1).commit();
  }
  /// Completes the oldest request at the device.
  void answer() {
    queue().commit();
    queue().answer();
    queue().commit();
  }
  static std::uint64_t now() noexcept { return test_time; }

 private:
  asio::io_context context_;
  std::vector<std::byte> memory_ = std::vector<std::byte>(mib);
  std::deque<tracked> requests_;

 protected:
  fake_device device_{{context_.get_executor(), context_.get_executor()},
                      {.size = 4 * mib, .answers = false}};
  activity_table activity_{2};
  // Larger than the requests of the tests, which have up to 128 KiB.
  scheduler_limits limits_{.latency = 160 * kib};
  device_scheduler first_{device_.queue(0), activity_, 0, limits_, now};
  device_scheduler second_{device_.queue(1), activity_, 1, limits_, now};
};

TEST_F(device_scheduler_test, gives_a_connection_without_neighbours_the_whole_device) {
  connection alone(first_);
  for (int i = 0; i < 64; ++i)
    submit(alone, 256 * kib);
  EXPECT_GE(queue().waiting.size() * 256 * kib, 4 * mib);
  EXPECT_LE(queue().waiting.size() * 256 * kib, limits_.throughput);
  queue().answer_all();
  EXPECT_EQ(alone.done, 64U);
}

TEST_F(device_scheduler_test, keeps_the_order_of_a_connection) {
  connection alone(first_);
  for (std::uint64_t i = 0; i < 64; ++i)
    submit(alone, 128 * kib, i * 4096);
  queue().answer_all();
  for (std::uint64_t i = 0; i < 64; ++i)
    EXPECT_EQ(queue().log[i], fmt::format("write {}+131072 memory", i * 4096));
}

TEST_F(device_scheduler_test, starts_small_requests_at_once_beside_a_busy_connection) {
  connection busy(first_);
  connection light(first_);
  for (int i = 0; i < 64; ++i)
    submit(busy, 256 * kib);
  submit(light, 4096, 8192);
  EXPECT_EQ(queue().log.back(), "write 8192+4096 memory");
}

TEST_F(device_scheduler_test, keeps_little_at_the_device_while_a_light_connection_is_active) {
  connection busy(first_);
  connection light(first_);
  submit(light, 4096);
  answer();
  for (int i = 0; i < 64; ++i)
    submit(busy, 128 * kib);
  EXPECT_LE(queue().waiting.size() * 128 * kib, limits_.latency);
  test_time += limits_.linger_ns + 1;
  answer();
  EXPECT_GE(queue().waiting.size() * 128 * kib, 4 * mib) << "the light connection is idle now";
  queue().answer_all();
  EXPECT_EQ(busy.done, 64U);
}

TEST_F(device_scheduler_test, notices_light_connections_of_other_queues) {
  connection busy(first_);
  connection light(second_);
  submit(light, 4096);
  for (int i = 0; i < 64; ++i)
    submit(busy, 128 * kib);
  EXPECT_LE(queue(0).waiting.size() * 128 * kib, limits_.latency);
  queue(0).answer_all();
  queue(1).answer_all();
}

TEST_F(device_scheduler_test, does_not_hold_back_a_connection_for_its_own_small_requests) {
  connection one(first_);
  connection idle(first_);
  submit(one, 4096);
  for (int i = 0; i < 64; ++i)
    submit(one, 256 * kib);
  EXPECT_GE(queue().waiting.size() * 256 * kib, 4 * mib);
}

TEST_F(device_scheduler_test, does_not_treat_many_small_requests_as_light) {
  connection busy(first_);
  connection light(first_);
  submit(light, 4096);
  answer();
  for (int i = 0; i < 128; ++i)
    submit(busy, 4096);
  EXPECT_LE(queue().waiting.size(), 32U);
  submit(light, 4096, 8192);
  EXPECT_EQ(queue().log.back(), "write 8192+4096 memory");
}

TEST_F(device_scheduler_test, shares_the_device_equally_among_busy_connections) {
  connection small(first_);
  connection large(first_);
  for (int i = 0; i < 400; ++i) {
    submit(large, 256 * kib);
    submit(small, 32 * kib);
    submit(small, 32 * kib);
  }
  for (int i = 0; i < 400; ++i)
    answer();
  const auto bytes_small = small.done * 32 * kib;
  const auto bytes_large = large.done * 256 * kib;
  EXPECT_GT(bytes_small * 2, bytes_large);
  EXPECT_GT(bytes_large * 2, bytes_small);
}

TEST_F(device_scheduler_test, does_not_starve_a_busy_connection) {
  connection busy(first_);
  connection light(first_);
  submit(light, 4096);
  for (int i = 0; i < 10; ++i)
    submit(busy, 256 * kib);
  // The light connection always has a request at the device.
  for (int i = 0; i < 100 && busy.done < 10; ++i) {
    submit(light, 4096);
    answer();
  }
  EXPECT_EQ(busy.done, 10U);
}

TEST_F(device_scheduler_test, always_has_a_request_of_a_waiting_connection_at_the_device) {
  connection busy(first_);
  connection light(first_);
  submit(light, 4096);
  answer();
  for (int i = 0; i < 4; ++i)
    submit(busy, mib, 0);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(queue().waiting.size(), 1U);
    answer();
    EXPECT_EQ(busy.done, i + 1);
  }
}

TEST_F(device_scheduler_test, limits_discards_and_flushes_too) {
  connection busy(first_);
  connection light(first_);
  submit(light, 4096);
  answer();
  for (int i = 0; i < 128; ++i)
    submit(busy, std::uint64_t{1} << 30, 0, blk::operation::discard);
  EXPECT_LE(queue().waiting.size(), 8U);
  queue().answer_all();
  for (int i = 0; i < 128; ++i)
    submit(busy, 0, 0, blk::operation::flush);
  EXPECT_LE(queue().waiting.size(), 32U);
}

TEST_F(device_scheduler_test, survives_the_end_of_the_connection_it_noted_last) {
  connection busy(first_);
  connection idle(first_);
  {
    connection light(first_);
    submit(light, 4096);
    answer();
  }
  for (int i = 0; i < 64; ++i)
    submit(busy, 128 * kib);
  EXPECT_LE(queue().waiting.size() * 128 * kib, limits_.latency);
}

}  // namespace
}  // namespace xenpv::nbd::test
