// Measures the block engine without NBD, with various numbers of segments and queues and ring
// orders, with and without persistent grants.
//
//   bench_block DEVICE...            print a table for each device (block.sh creates the disks)
//   bench_block --count N DEVICE     make only N random 4k reads at depth 32, for callgrind
//   bench_block --speed MS DEVICE    run each load for MS milliseconds with default options, and
//                                    print one line per load
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "blk/workload.hpp"
#include "xenpv/async/run_on.hpp"
#include "xenpv/async/runtime.hpp"
#include "xenpv/blkfront/frontend.hpp"

namespace {

using namespace xenpv;
using namespace std::chrono_literals;

/// Enough for 256 segments at a high queue depth. The host must allow this many (--grant-limit).
constexpr std::size_t pages = 6000;

struct shape {
  unsigned segments;
  unsigned order;
  unsigned queues;
  bool persistent;
};

struct named_load {
  const char* name;
  blk::workload load;
  bool megabytes;
};

const std::vector<named_load>& loads() {
  static const std::vector<named_load> all = {
      {"4k qd1", {.depth = 1}, false},
      {"4k qd32", {.depth = 32}, false},
      {"4k qd256", {.depth = 256}, false},
      {"1M read", {.block = 1 << 20, .depth = 4, .random = false}, true},
      {"1M write",
       {.op = blk::operation::write, .block = 1 << 20, .depth = 4, .random = false},
       true}};
  return all;
}

asio::awaitable<double> measure(blkfront::frontend& disk, blk::workload load) {
  const auto result = co_await blk::run(disk, load);
  if (result.errors > 0) fmt::print(stderr, "{} errors\n", result.errors);
  co_return result.per_second();
}

blkfront::options limited_to(const shape& s) {
  blkfront::options options;
  options.pages = pages;
  options.segments = s.segments;
  options.ring_page_order = s.order;
  options.queues = s.queues;
  options.persistent = s.persistent;
  return options;
}

asio::awaitable<void> print_row(async::runtime& runtime, const std::string& device,
                                const shape& s) {
  const auto disk = co_await blkfront::frontend::open(runtime, device, limited_to(s));
  fmt::print("{:>8} {:>5} {:>6} {:>10}", s.segments, s.order, disk->queue_count(),
             s.persistent ? "yes" : "no");
  for (auto column : loads()) {
    column.load.time = 200ms;
    const auto rate = co_await measure(*disk, column.load);
    fmt::print(" {:>10.0f}", column.megabytes ? rate * column.load.block / 1e6 : rate);
  }
  double per_event = 0;
  double per_notify = 0;
  std::uint64_t requests = 0;
  for (const auto& queue : co_await disk->statistics()) {
    requests += queue.ring_requests;
    per_event += static_cast<double>(queue.events);
    per_notify += static_cast<double>(queue.notifies_sent);
  }
  fmt::print(" {:>10.3f} {:>10.3f}\n", per_event / static_cast<double>(requests),
             per_notify / static_cast<double>(requests));
  std::fflush(stdout);
  co_await disk->close();
}

asio::awaitable<void> print_table(async::runtime& runtime, std::string device) {
  fmt::print("\n{}\n{:>8} {:>5} {:>6} {:>10}", device, "segments", "order", "queues", "persistent");
  for (const auto& column : loads())
    fmt::print(" {:>10}", column.name);
  fmt::print(" {:>10} {:>10}\n{:>32}", "events", "notifies", "");
  for (const auto& column : loads())
    fmt::print(" {:>10}", column.megabytes ? "MB/s" : "IOPS");
  fmt::print(" {:>10} {:>10}\n", "/request", "/request");
  for (const bool persistent : {true, false})
    for (const unsigned queues : {1U, 2U})
      for (const unsigned order : {0U, 2U, 4U})
        for (const unsigned segments : {11U, 32U, 256U})
          co_await print_row(runtime, device, {segments, order, queues, persistent});
}

const std::vector<named_load>& common_loads() {
  using blk::operation;
  constexpr std::uint32_t large = 1 << 20;
  static const std::vector<named_load> all = {
      {"randread-4k-1", {.depth = 1}, false},
      {"randwrite-4k-1", {.op = operation::write, .depth = 1}, false},
      {"randread-4k-32", {.depth = 32}, false},
      {"randwrite-4k-32", {.op = operation::write, .depth = 32}, false},
      {"read-1M-4", {.block = large, .depth = 4, .random = false}, true},
      {"write-1M-4", {.op = operation::write, .block = large, .depth = 4, .random = false}, true}};
  return all;
}

asio::awaitable<blkfront::queue_statistics> sum_of(blkfront::frontend& disk) {
  blkfront::queue_statistics sum;
  for (const auto& queue : co_await disk.statistics())
    sum.add(queue);
  co_return sum;
}

asio::awaitable<void> print_speed(async::runtime& runtime, std::string device,
                                  std::chrono::milliseconds time) {
  const auto disk = co_await blkfront::frontend::open(runtime, device, {});
  const auto& facts = disk->facts();
  fmt::print("# {} queues, ring order {}, {} segments, {} pages, grants {}\n", facts.queues,
             facts.ring_page_order, facts.segments, facts.pages,
             facts.persistent ? "kept" : "mapped for each request");
  fmt::print("# load                   rate unit events/request notifies/request\n");
  for (auto row : common_loads()) {
    row.load.time = time;
    const auto before = co_await sum_of(*disk);
    const auto rate = co_await measure(*disk, row.load);
    const auto after = co_await sum_of(*disk);
    const auto requests = static_cast<double>(after.ring_requests - before.ring_requests);
    fmt::print("{:<18} {:>10.0f} {} {:>14.3f} {:>16.3f}\n", row.name,
               row.megabytes ? rate * row.load.block / 1e6 : rate, row.megabytes ? "MB/s" : "IOPS",
               static_cast<double>(after.events - before.events) / requests,
               static_cast<double>(after.notifies_sent - before.notifies_sent) / requests);
    std::fflush(stdout);
  }
  co_await disk->close();
}

asio::awaitable<void> read_exactly(async::runtime& runtime, std::string device,
                                   std::uint64_t count) {
  const auto disk = co_await blkfront::frontend::open(runtime, device, {});
  blk::workload load;
  load.depth = 32;
  load.time = 1h;
  load.count = count;
  blk::workload_result result;
  auto& queue = disk->queue(0);
  const auto run = [&]() -> asio::awaitable<void> { result = co_await blk::run(queue, load); };
  co_await async::run_on(queue.get_executor(), run);
  co_await disk->close();
  fmt::print("{} reads\n", result.requests);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> devices(argv + 1, argv + argc);
  std::uint64_t count = 0;
  std::chrono::milliseconds time{};
  if (devices.size() == 3 && (devices[0] == "--count" || devices[0] == "--speed")) {
    const auto number = std::strtoull(devices[1].c_str(), nullptr, 10);
    if (devices[0] == "--count")
      count = number;
    else
      time = std::chrono::milliseconds(number);
    devices.erase(devices.begin(), devices.begin() + 2);
  }
  if (devices.empty()) {
    fmt::print(stderr, "usage: bench_block [--count N|--speed MS] DEVICE...\n");
    return 2;
  }
  try {
    async::runtime runtime;
    runtime.run([&](async::runtime& self) -> asio::awaitable<void> {
      for (const auto& device : devices) {
        if (count > 0)
          co_await read_exactly(self, device, count);
        else if (time.count() > 0)
          co_await print_speed(self, device, time);
        else
          co_await print_table(self, device);
      }
    });
  } catch (const std::exception& problem) {
    fmt::print(stderr, "bench_block: {}\n", problem.what());
    return 1;
  }
}
