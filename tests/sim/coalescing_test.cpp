// Replies that share an event: a fast reply does not wait for slow replies. Runs inside a simulated
// domain.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <array>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <vector>

#include "blk/clock.hpp"
#include "sim/block_device.hpp"
#include "sim/simulated_toolstack.hpp"
#include "xenpv/async/run_on.hpp"

namespace xenpv::blkfront {
namespace {

using namespace std::chrono_literals;

constexpr unsigned xvdb = 51728;
constexpr std::size_t slow_reads = 8;
constexpr std::size_t block_size = 4096;
/// Upper bound for the fast read: far above its latency on a busy machine, far below the latency of
/// the slow reads, and below the one-second interval at which a queue polls its ring anyway.
constexpr auto fast_enough = 300ms;

struct counted_read : blk::request {
  std::array<std::byte, block_size> bytes{};
  std::size_t* left = nullptr;
  asio::steady_timer* last_answered = nullptr;
};

/// Submits all reads in one handler, so that the backend receives them together, and waits until
/// all have completed.
asio::awaitable<void> read_together(blk::block_queue& queue, std::span<counted_read> reads) {
  asio::steady_timer last_answered(queue.get_executor(), asio::steady_timer::time_point::max());
  auto left = reads.size();
  for (std::size_t i = 0; i < reads.size(); ++i) {
    auto& r = reads[i];
    r.op = blk::operation::read;
    r.offset = i * block_size;
    r.length = block_size;
    r.memory = r.bytes.data();
    r.left = &left;
    r.last_answered = &last_answered;
    r.done = [](blk::request& answered) {
      auto& self = static_cast<counted_read&>(answered);
      EXPECT_FALSE(self.status) << self.status.message();
      if (--*self.left == 0) self.last_answered->cancel();
    };
    queue.submit(r);
  }
  while (left > 0) {
    try {
      co_await last_answered.async_wait(asio::use_awaitable);
    } catch (const boost::system::system_error&) {
      // Cancelled by the last reply.
    }
  }
}

/// Makes replies arrive so fast that the queue requests one event for several replies.
asio::awaitable<void> make_burst(blk::block_queue& queue) {
  for (int round = 0; round < 50; ++round) {
    std::array<counted_read, 32> reads;
    co_await read_together(queue, reads);
  }
}

struct latencies {
  std::chrono::nanoseconds fast;
  std::chrono::nanoseconds slowest;
};

/// The backend delays all replies except the last one.
asio::awaitable<latencies> read_beside_slow_ones(blk::block_queue& queue) {
  std::array<counted_read, slow_reads + 1> reads;
  const auto start = blk::now_ns();
  co_await read_together(queue, reads);
  latencies out{};
  out.fast = std::chrono::nanoseconds(reads.back().answered_ns - start);
  for (const auto& read : reads)
    out.slowest = std::max(out.slowest, std::chrono::nanoseconds(read.answered_ns - start));
  co_return out;
}

TEST(coalescing, a_fast_read_does_not_wait_for_slow_ones_after_a_burst) {
  sim::simulated_toolstack toolstack;
  std::vector<latencies> rounds;
  with_runtime([&](async::runtime& runtime) -> asio::awaitable<void> {
    options settings;
    settings.queues = 1;
    const auto disk =
        co_await frontend::open(runtime, fmt::format("device/vbd/{}", xvdb), settings);
    auto& queue = disk->queue(0);
    auto burst = [&] { return make_burst(queue); };
    auto measure = [&]() -> asio::awaitable<void> {
      const auto measured = co_await read_beside_slow_ones(queue);
      rounds.push_back(measured);
    };
    for (int round = 0; round < 4; ++round) {
      co_await async::run_on(queue.get_executor(), burst);
      toolstack.set_faults(xvdb, fmt::format("delay=1500ms:{}/100000", slow_reads));
      co_await async::run_on(queue.get_executor(), measure);
      toolstack.set_faults(xvdb, "none");
    }
    co_await disk->close();
  });
  for (const auto& round : rounds) {
    EXPECT_LT(round.fast, fast_enough);
    EXPECT_GT(round.slowest, 1s) << "the other reads were not slow, so the test proves nothing";
  }
}

}  // namespace
}  // namespace xenpv::blkfront
