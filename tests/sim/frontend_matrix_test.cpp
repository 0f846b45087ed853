// Every kind of backend with every combination of connection parameters, through the whole stack.
// Workers on all queues write and verify adjacent unaligned ranges; flushes and discards are
// interleaved.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <tuple>

#include "async/nursery.hpp"
#include "sim/block_device.hpp"
#include "xenpv/async/run_on.hpp"

namespace xenpv::blkfront {
namespace {

constexpr std::uint64_t area = 96 * 1024 + 77;  // odd, so that adjacent areas share sectors
constexpr unsigned workers_per_queue = 5;
constexpr unsigned operations = 40;

/// Owns the bytes [begin, begin + area) of the disk and tracks their contents.
class worker {
 public:
  worker(blk::block_queue& queue, std::uint64_t begin, unsigned seed)
      : queue_(queue), begin_(begin), random_(seed), model_(area) {}

  asio::awaitable<void> run() {
    co_await write(0, area);
    for (unsigned i = 0; i < operations; ++i) {
      const auto first = pick(0, area - 1);
      const auto count = std::min(pick(1, pick(0, 7) == 0 ? area : 9000), area - first);
      switch (pick(0, 9)) {
        case 0:
          if (queue_.shape().can_flush) co_await queue_.flush();
          break;
        case 1:
          if (!queue_.shape().can_discard) break;
          // The contents after a discard are undefined, so overwrite them.
          co_await queue_.discard(begin_ + first, count);
          co_await write(first, count);
          break;
        case 2:
        case 3:
        case 4:
        case 5:
          co_await write(first, count);
          break;
        default:
          co_await verify(first, count);
      }
    }
    co_await verify(0, area);
  }

 private:
  std::uint64_t pick(std::uint64_t low, std::uint64_t high) {
    return std::uniform_int_distribution<std::uint64_t>(low, high)(random_);
  }

  asio::awaitable<void> write(std::uint64_t first, std::uint64_t count) {
    for (auto i = first; i < first + count; ++i)
      model_[i] = static_cast<std::byte>(random_());
    const bool fua = queue_.shape().can_flush && pick(0, 5) == 0;
    co_await queue_.write(begin_ + first, {model_.data() + first, count}, fua);
  }

  asio::awaitable<void> verify(std::uint64_t first, std::uint64_t count) {
    std::vector<std::byte> got(count);
    co_await queue_.read(begin_ + first, got);
    if (std::memcmp(got.data(), model_.data() + first, count) != 0)
      throw std::runtime_error(
          fmt::format("{} bytes at {} differ from the data written", count, begin_ + first));
  }

  blk::block_queue& queue_;
  std::uint64_t begin_;
  std::mt19937 random_;
  std::vector<std::byte> model_;
};

asio::awaitable<void> work(blk::block_queue& queue, std::size_t index, std::size_t stride) {
  async::nursery all(queue.get_executor());
  std::vector<std::unique_ptr<worker>> workers;
  for (unsigned i = 0; i < workers_per_queue; ++i) {
    // Interleaved, so that adjacent areas belong to different queues.
    const auto begin = (i * stride + index) * area;
    workers.push_back(std::make_unique<worker>(queue, begin, static_cast<unsigned>(begin)));
    all.spawn(workers.back()->run());
  }
  co_await all.join();
}

using shape = std::tuple<disk_under_test, bool, bool, bool, bool>;

class frontend_matrix : public ::testing::TestWithParam<shape> {};

TEST_P(frontend_matrix, reads_the_written_data) {
  const auto [disk_name, large_ring, many_queues, indirect, persistent] = GetParam();
  options settings;
  if (!large_ring) settings.ring_page_order = 0;
  if (!many_queues) settings.queues = 1;
  if (!indirect) settings.segments = 11;
  settings.persistent = persistent;
  with_runtime([&, device = disk_name.device](async::runtime& runtime) -> asio::awaitable<void> {
    const auto disk = co_await frontend::open(runtime, device, settings);
    async::nursery queues(runtime.control());
    for (std::size_t i = 0; i < disk->queue_count(); ++i) {
      auto& queue = disk->queue(i);
      const auto count = disk->queue_count();
      queues.spawn(async::run_on(queue.get_executor(),
                                 [&queue, i, count] { return work(queue, i, count); }));
    }
    co_await queues.join();
    EXPECT_EQ(disk->state(), device_state::connected);
    co_await disk->close();
  });
}

std::string name_of(const ::testing::TestParamInfo<shape>& info) {
  const auto [disk, large_ring, many_queues, indirect, persistent] = info.param;
  return fmt::format("{}_{}_{}_{}_{}", disk.name, large_ring ? "largest_ring" : "one_page",
                     many_queues ? "all_queues" : "one_queue", indirect ? "indirect" : "direct",
                     persistent ? "persistent" : "mapped");
}

INSTANTIATE_TEST_SUITE_P(all, frontend_matrix,
                         ::testing::Combine(::testing::ValuesIn(disks_under_test()),
                                            ::testing::Bool(), ::testing::Bool(), ::testing::Bool(),
                                            ::testing::Bool()),
                         name_of);

// The FreeBSD backend serves only one connection, so each combination has its own disk. The backend
// does not support multiple queues or indirect requests.
INSTANTIATE_TEST_SUITE_P(
    freebsd, frontend_matrix,
    ::testing::Values(shape{{"freebsd_512", "device/vbd/51824"}, false, false, false, false},
                      shape{{"freebsd_512", "device/vbd/51904"}, false, false, false, true},
                      shape{{"freebsd_512", "device/vbd/51920"}, true, true, true, false},
                      shape{{"freebsd_512", "device/vbd/51936"}, true, true, true, true}),
    name_of);

}  // namespace
}  // namespace xenpv::blkfront
