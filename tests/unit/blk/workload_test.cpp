// Workloads on a device that counts its requests, and the statistics that a workload returns.
#include "blk/workload.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/post.hpp>
#include <deque>
#include <set>

#include "unit/async/run_coroutine.hpp"
#include "unit/blk/pool_memory.hpp"
#include "xenpv/base/error.hpp"

namespace xenpv::blk {
namespace {

using async::test::run;
using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::Lt;

constexpr std::uint64_t device_size = 64 * 4096;

/// Records its requests. Completes them asynchronously, newest first.
class counting_queue : public block_queue {
 public:
  explicit counting_queue(asio::io_context& context) : context_(context) {
    shape_.size = device_size;
  }
  using block_queue::pages_;
  using block_queue::shape_;

  asio::any_io_executor get_executor() const override { return context_.get_executor(); }
  void submit(request& r) override {
    offsets.push_back(r.offset);
    memories.insert(r.memory);
    places.insert(r.pages);
    if (r.pages != nullptr) first_bytes.insert(first_byte(*r.pages));
    EXPECT_EQ(r.length, block);
    if (abandons && r.pages != nullptr) r.pages->abandon();
    waiting_.push_back(&r);
    most_in_flight = std::max(most_in_flight, waiting_.size());
    asio::post(context_, [this] {
      auto& newest = *waiting_.back();
      waiting_.pop_back();
      newest.status = offsets.size() >= fail_from ? answer : std::error_code();
      if (keeps_time) newest.answered_ns = answered_ns;
      newest.done(newest);
    });
  }
  void commit() override {}

  static std::byte* first_byte(const lease& held) {
    std::byte* out = nullptr;
    held.for_each_span(0, 1, [&](std::span<std::byte> bytes) { out = bytes.data(); });
    return out;
  }

  bool abandons = false;  ///< abandons the pages of each request
  std::uint64_t block = 4096;
  bool keeps_time = false;
  std::uint64_t answered_ns = 0;  ///< completion time of every request, if keeps_time
  std::error_code answer;
  std::size_t fail_from = 0;
  std::vector<std::uint64_t> offsets;
  std::set<std::byte*> memories;
  std::set<lease*> places;
  std::set<std::byte*> first_bytes;  ///< first byte of each lease
  std::size_t most_in_flight = 0;

 private:
  asio::io_context& context_;
  std::deque<request*> waiting_;
};

class counting_device : public block_device {
 public:
  explicit counting_device(asio::io_context& context)
      : queues_{counting_queue(context), counting_queue(context)} {}
  std::size_t queue_count() const noexcept override { return queues_.size(); }
  counting_queue& queue(std::size_t index) noexcept override { return queues_[index]; }

 private:
  std::array<counting_queue, 2> queues_;
};

class workload_test : public ::testing::Test {
 protected:
  workload_result result_of(block_queue& target, workload load) {
    workload_result result;
    auto body = [&]() -> asio::awaitable<void> { result = co_await blk::run(target, load); };
    run(context, body());
    return result;
  }
  workload_result result_of(block_device& target, workload load) {
    workload_result result;
    auto body = [&]() -> asio::awaitable<void> { result = co_await blk::run(target, load); };
    run(context, body());
    return result;
  }
  std::string refusal_of(workload load) {
    try {
      result_of(queue, load);
    } catch (const failure& problem) {
      EXPECT_EQ(problem.code(), errc::invalid_argument);
      return problem.what();
    }
    return "no failure";
  }
  static workload reads(std::uint64_t count) {
    workload load;
    load.count = count;
    load.time = 1h;
    return load;
  }

  asio::io_context context{1};
  counting_queue queue{context};
};

TEST_F(workload_test, count_is_exact) {
  auto load = reads(100);
  load.depth = 8;
  const auto result = result_of(queue, load);
  EXPECT_EQ(result.requests, 100u);
  EXPECT_EQ(result.errors, 0u);
  EXPECT_EQ(result.latency_ns.count(), 100u);
  EXPECT_EQ(queue.offsets.size(), 100u);
  EXPECT_EQ(queue.most_in_flight, 8u);
  EXPECT_EQ(queue.memories.size(), 8u) << "each request in flight has its own memory";
  EXPECT_GT(result.per_second(), 0);
}

TEST_F(workload_test, uses_the_completion_time_of_a_device_that_keeps_time) {
  auto load = reads(100);
  queue.keeps_time = true;
  queue.answered_ns = static_cast<std::uint64_t>(
      std::chrono::nanoseconds((std::chrono::steady_clock::now() + 1h).time_since_epoch()).count());
  const auto result = result_of(queue, load);
  EXPECT_EQ(result.latency_ns.count(), 100u);
  // The first request began an hour before its completion. Each later request began when the
  // previous one completed.
  EXPECT_GT(result.latency_ns.max(), 3'500'000'000'000u);
  EXPECT_EQ(result.latency_ns.percentile(0.9), 0u);
}

TEST_F(workload_test, treats_a_completion_before_its_request_as_zero_latency) {
  queue.keeps_time = true;
  queue.answered_ns = 1;
  EXPECT_EQ(result_of(queue, reads(3)).latency_ns.max(), 0u);
}

TEST_F(workload_test, count_below_the_depth_is_exact) {
  auto load = reads(3);
  load.depth = 8;
  EXPECT_EQ(result_of(queue, load).requests, 3u);
}

TEST_F(workload_test, time_ends_a_load_without_count) {
  workload load;
  load.time = 1ms;
  EXPECT_GE(result_of(queue, load).requests, 1u);
}

TEST_F(workload_test, random_blocks_are_whole_and_within_the_device) {
  result_of(queue, reads(1000));
  EXPECT_THAT(queue.offsets, Each(Lt(device_size)));
  const std::set<std::uint64_t> different(queue.offsets.begin(), queue.offsets.end());
  EXPECT_EQ(different.size(), device_size / 4096) << "each block is read";
  for (const auto offset : queue.offsets)
    EXPECT_EQ(offset % 4096, 0u);
}

TEST_F(workload_test, sequential_blocks_wrap_at_the_end) {
  auto load = reads(66);
  load.random = false;
  result_of(queue, load);
  EXPECT_EQ(queue.offsets[0], 0u);
  EXPECT_EQ(queue.offsets[63], 63u * 4096);
  EXPECT_EQ(queue.offsets[64], 0u);
  EXPECT_EQ(queue.offsets[65], 4096u);
}

TEST_F(workload_test, memory_is_aligned_to_pages) {
  queue.block = 512;
  auto load = reads(4);
  load.block = 512;
  load.depth = 4;
  result_of(queue, load);
  for (auto* const memory : queue.memories)
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory) % page_size, 0u);
}

TEST_F(workload_test, uses_the_pages_of_a_device_that_has_some) {
  queue.pages_ = test::make_pool(16);
  auto load = reads(100);
  load.depth = 4;
  EXPECT_EQ(result_of(queue, load).requests, 100u);
  EXPECT_EQ(queue.memories, std::set<std::byte*>{nullptr});
  EXPECT_EQ(queue.first_bytes.size(), 4u) << "each request in flight has its own pages";
  EXPECT_EQ(queue.pages_->free(), 16u);
}

TEST_F(workload_test, writes_from_pages_of_the_device_are_pseudo_random_too) {
  queue.pages_ = test::make_pool(16);
  auto load = reads(1);
  load.op = operation::write;
  result_of(queue, load);
  ASSERT_EQ(queue.first_bytes.size(), 1u);
  std::uint64_t number = 0;
  std::memcpy(&number, *queue.first_bytes.begin(), sizeof number);
  EXPECT_NE(number, 0u);
}

TEST_F(workload_test, requests_wait_for_pages_of_others_when_there_are_too_few) {
  queue.pages_ = test::make_pool(5);
  auto load = reads(100);
  load.depth = 8;
  EXPECT_EQ(result_of(queue, load).requests, 100u);
  EXPECT_EQ(queue.most_in_flight, 5u);
  EXPECT_EQ(queue.first_bytes.size(), 5u);
  EXPECT_EQ(queue.offsets.size(), 100u);
  EXPECT_EQ(queue.pages_->free(), 5u);
}

TEST_F(workload_test, blocks_are_split_when_the_pages_cannot_hold_all_of_them) {
  queue.pages_ = test::make_pool(17);
  auto load = reads(8);
  load.block = 16 * 4096;
  load.depth = 4;
  load.random = false;
  queue.block = 4 * 4096;
  const auto result = result_of(queue, load);
  EXPECT_EQ(result.requests, 8u);
  EXPECT_EQ(result.latency_ns.count(), 8u) << "one per whole block";
  EXPECT_EQ(queue.most_in_flight, 4u) << "one piece per block at a time";
  std::multiset<std::uint64_t> twice;
  for (std::uint64_t at = 0; at < device_size; at += queue.block)
    twice.insert({at, at});
  EXPECT_EQ(std::multiset<std::uint64_t>(queue.offsets.begin(), queue.offsets.end()), twice);
  EXPECT_EQ(queue.pages_->free(), 17u);
}

TEST_F(workload_test, failed_piece_ends_its_block) {
  queue.pages_ = test::make_pool(4);
  queue.block = 4 * 4096;
  queue.answer = std::make_error_code(std::errc::io_error);
  queue.fail_from = 2;
  auto load = reads(1);
  load.block = 16 * 4096;
  const auto result = result_of(queue, load);
  EXPECT_EQ(result.requests, 1u);
  EXPECT_EQ(result.errors, 1u);
  EXPECT_EQ(queue.offsets.size(), 2u);
}

TEST_F(workload_test, uses_memory_when_pages_are_disabled_exhausted_or_do_not_fit) {
  const std::set<lease*> none{nullptr};
  queue.pages_ = test::make_pool(16);
  auto load = reads(10);
  load.in_place = false;
  result_of(queue, load);
  EXPECT_EQ(queue.places, none);
  load.in_place = true;
  queue.block = load.block = 512;
  result_of(queue, load);
  EXPECT_EQ(queue.places, none);
  const auto all = lease::try_take(queue.pages_, 0, 16 * 4096, 512);
  queue.block = load.block = 4 * 4096;
  result_of(queue, load);
  EXPECT_EQ(queue.places, none);
}

TEST_F(workload_test, continues_in_memory_when_the_device_keeps_pages) {
  queue.pages_ = test::make_pool(2);
  queue.abandons = true;
  auto load = reads(20);
  load.depth = 4;
  EXPECT_EQ(result_of(queue, load).requests, 20u);
  EXPECT_EQ(queue.first_bytes.size(), 2u);
  EXPECT_GT(queue.memories.size(), 1u) << "more than the nullptr of requests with pages";
  EXPECT_EQ(queue.most_in_flight, 2u);
  EXPECT_EQ(queue.pages_->free(), 0u);
}

TEST_F(workload_test, errors_are_counted_and_the_first_is_kept) {
  queue.answer = std::make_error_code(std::errc::io_error);
  queue.fail_from = 8;
  const auto result = result_of(queue, reads(10));
  EXPECT_EQ(result.requests, 10u);
  EXPECT_EQ(result.errors, 3u);
  EXPECT_EQ(result.first_error, queue.answer);
}

TEST_F(workload_test, invalid_workloads_are_refused) {
  auto load = reads(1);
  load.op = operation::flush;
  EXPECT_THAT(refusal_of(load), HasSubstr("flush is not supported; use read or write"));
  load = reads(1);
  load.depth = 0;
  EXPECT_THAT(refusal_of(load), HasSubstr("the depth must be at least 1"));
  load = reads(1);
  load.block = 1000;
  EXPECT_THAT(refusal_of(load),
              HasSubstr("block size 1000 is not a multiple of the sector size 512"));
  load.block = 0;
  EXPECT_THAT(refusal_of(load), HasSubstr("block size 0"));
  load.block = device_size + 512;
  EXPECT_THAT(refusal_of(load), HasSubstr("exceeds the device size 262144"));
  load = reads(1);
  load.op = operation::write;
  queue.shape_.read_only = true;
  EXPECT_THAT(refusal_of(load), HasSubstr("the device is read-only"));
  EXPECT_TRUE(queue.offsets.empty());
}

TEST_F(workload_test, device_divides_the_depth_among_its_queues) {
  counting_device device(context);
  auto load = reads(50);
  load.depth = 5;
  const auto result = result_of(device, load);
  EXPECT_EQ(result.requests, 100u);
  EXPECT_EQ(device.queue(0).most_in_flight, 3u);
  EXPECT_EQ(device.queue(1).most_in_flight, 2u);
}

TEST_F(workload_test, queues_read_different_ranges_sequentially) {
  counting_device device(context);
  auto load = reads(32);
  load.depth = 2;
  load.random = false;
  result_of(device, load);
  EXPECT_THAT(device.queue(0).offsets, Each(Lt(device_size / 2)));
  EXPECT_THAT(device.queue(1).offsets, Each(AllOf(Ge(device_size / 2), Lt(device_size))));
}

TEST_F(workload_test, depth_1_leaves_all_but_one_queue_idle) {
  counting_device device(context);
  EXPECT_EQ(result_of(device, reads(10)).requests, 10u);
  EXPECT_TRUE(device.queue(1).offsets.empty());
}

TEST_F(workload_test, failure_on_a_queue_reaches_the_caller) {
  counting_device device(context);
  auto load = reads(1);
  load.block = 100;
  EXPECT_THROW(result_of(device, load), failure);
}

}  // namespace
}  // namespace xenpv::blk
