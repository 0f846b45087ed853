// Recovery under verified I/O. At random times, the backend restarts, vanishes, stalls or closes,
// the guest is saved and restored, or the custodian is killed. Runs inside a simulated domain
// (tests/sim/CMakeLists.txt).
//
// Environment: XENPV_RECOVERY_QEMU, 1 if QEMU serves xvdb and xvdc (run_with_qemu.sh);
// XENPV_RECOVERY_SEEDS, the number of seeds; XENPV_RECOVERY_FIRST, the first seed;
// XENPV_RECOVERY_WITHOUT, a comma-separated list of kinds to omit (cuts, deadlines, moves);
// XENPV_RECOVERY_KILL_CUSTODIAN, 0 or 1, whether to kill custodians.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/resource.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstdlib>
#include <map>
#include <thread>

#include "async/nursery.hpp"
#include "sim/recovery_case.hpp"
#include "sim/recovery_events.hpp"
#include "sim/recovery_load.hpp"
#include "sim/recovery_oracle.hpp"
#include "sim/simulated_toolstack.hpp"
#include "xenpv/async/deadline.hpp"
#include "xenpv/async/run_on.hpp"
#include "xenpv/base/log.hpp"

namespace xenpv::blkfront {
namespace {

using namespace std::chrono_literals;
using ::testing::IsEmpty;

constexpr unsigned xvdb = 51728;  // linux, two queues
constexpr unsigned xvdc = 51744;  // linux, one queue, direct requests only
constexpr unsigned xvdd = 51760;  // 4096-byte sectors, a volatile cache
constexpr unsigned xvdf = 51792;  // two queues, a volatile cache

/// Runs `body` on a new runtime with a custodian. Call before creating threads.
void with_guarded_runtime(std::function<asio::awaitable<void>(async::runtime&)> body) {
  async::runtime runtime;
  runtime.run(std::move(body));
}

/// A disk with one worker per region.
struct loaded_disk {
  std::unique_ptr<frontend> device;
  std::vector<std::unique_ptr<recovery_load>> loads;

  [[nodiscard]] blk::block_queue& queue_of(std::size_t worker) {
    return device->queue(worker % device->queue_count());
  }
};

/// Runs the worker's `part` on the thread of the worker's queue.
asio::awaitable<void> work(loaded_disk& disk, std::size_t worker,
                           asio::awaitable<void> (recovery_load::*part)(),
                           std::vector<std::string>& problems) {
  auto& load = *disk.loads[worker];
  std::string thrown;
  auto body = [&]() -> asio::awaitable<void> {
    try {
      co_await (load.*part)();
    } catch (const failure& e) {
      thrown = e.what();
    }
  };
  co_await async::run_on(disk.queue_of(worker).get_executor(), body);
  if (!thrown.empty()) problems.push_back(thrown);
}

struct seed_result {
  std::vector<std::string> problems;
  std::string story;
  std::uint64_t reconnects = 0;
  std::uint64_t replayed = 0;
  std::uint64_t operations = 0;
  std::uint64_t timed_out = 0;
  std::uint64_t flushes_failed = 0;
  std::chrono::nanoseconds longest{};
};

bool is_served_by_qemu() {
  return number_from("XENPV_RECOVERY_QEMU", 0) != 0;
}

std::vector<disk_under_load> disks_of(unsigned seed) {
  std::vector<disk_under_load> all = {
      {xvdb}, {xvdc}, {.number = xvdd, .is_volatile = true}, {.number = xvdf, .is_volatile = true}};
  if (is_served_by_qemu())
    all = {{.number = xvdb, .is_external = true}, {.number = xvdc, .is_external = true}};
  if (seed % 5 == 0) return all;
  return {all[seed % all.size()]};
}

/// Returns zero (no deadline), or a deadline so short that late backends exceed it.
std::chrono::nanoseconds deadline_of(unsigned seed) {
  if (is_left_out("deadlines") || is_served_by_qemu() || seed % 3 != 1) return {};
  return std::chrono::milliseconds(20 + seed % 4 * 20);
}

asio::awaitable<loaded_disk> open_disk(async::runtime& runtime, unsigned number, unsigned seed,
                                       recovery_oracle& oracle) {
  options settings;
  settings.pages = 160;
  settings.request_deadline = deadline_of(seed);
  if (number == xvdc) settings.segments = 11;
  loaded_disk out;
  out.device = co_await frontend::open(runtime, path_of(number), settings);
  for (unsigned i = 0; i < workers; ++i)
    out.loads.push_back(std::make_unique<recovery_load>(out.queue_of(i), oracle, i, workers,
                                                        seed * 1000 + number + i,
                                                        settings.request_deadline.count() != 0));
  co_return out;
}

/// Checks that flushed data survives a last power cut. Call after all writers have stopped.
asio::awaitable<void> verify(async::runtime& runtime, std::vector<loaded_disk>& disks,
                             misfortune& fate, std::vector<std::string>& problems) {
  for (auto& disk : disks)
    co_await work(disk, 0, &recovery_load::flush, problems);
  auto cut = [&] { fate.cut_power_at_end(); };
  if (!is_left_out("cuts")) co_await run_blocking(runtime, cut);
  for (auto& disk : disks)
    for (std::size_t i = 0; i < disk.loads.size(); ++i)
      co_await work(disk, i, &recovery_load::verify, problems);
}

std::string history_of(unsigned seed, const std::string& story) {
  return fmt::format("seed {}, deadline {}:{}", seed, format_duration(deadline_of(seed)), story);
}

asio::awaitable<void> run_seed(async::runtime& runtime, sim::simulated_toolstack& toolstack,
                               unsigned seed, seed_result& out) {
  const auto disks = disks_of(seed);
  misfortune fate(runtime, toolstack, seed, disks);
  std::vector<loaded_disk> loaded;
  for (const auto& disk : disks) {
    auto opened = co_await open_disk(runtime, disk.number, seed, fate.oracle(disk.number));
    loaded.push_back(std::move(opened));
  }
  async::nursery working(runtime.control());
  for (auto& disk : loaded)
    for (unsigned i = 0; i < workers; ++i)
      working.spawn(work(disk, i, &recovery_load::run, out.problems));
  auto run_events = [&] {
    try {
      fate.run();
    } catch (const std::exception& problem) {
      throw std::runtime_error(problem.what() + (" after" + fate.story()));
    }
  };
  co_await run_blocking(runtime, run_events);
  for (auto& disk : loaded)
    for (unsigned i = 0; i < workers; ++i) {
      auto stop = [&] { disk.loads[i]->stop(); };
      co_await async::call_on(disk.queue_of(i).get_executor(), stop);
    }
  out.story = fate.story();
  // A hung worker cannot be cancelled. Log the history before an external timeout ends the program.
  asio::steady_timer watchdog(runtime.control(), time_limit);
  watchdog.async_wait([history = history_of(seed, out.story)](boost::system::error_code cancelled) {
    if (!cancelled) log().error("requests are not answered: {}", history);
  });
  auto joined = working.join();
  co_await async::with_deadline(std::move(joined), time_limit,
                                "wait for the workers" + fate.story());
  auto verified = verify(runtime, loaded, fate, out.problems);
  co_await async::with_deadline(std::move(verified), time_limit, "read all data" + fate.story());
  for (auto& disk : loaded) {
    const auto& recovery = disk.device->recovery();
    out.reconnects += recovery.reconnects;
    out.replayed += recovery.replayed;
    out.longest = std::max(out.longest, recovery.longest_pause);
    for (const auto& load : disk.loads) {
      out.operations += load->operations();
      out.timed_out += load->timed_out();
      out.flushes_failed += load->flushes_failed();
      for (const auto& problem : load->problems())
        out.problems.push_back(disk.device->facts().device + ", " + problem);
    }
    co_await disk.device->close();
  }
  for (const auto disk : fate.resized())
    toolstack.resize(disk, usual_size);
}

/// Checks that all pages and watches, and all but a few ports, are released after the disks are
/// closed. Returns the number of ports that are still bound. Such a port was bound after a resume,
/// but before the resume was detected, through a handle that must no longer be used. Linux has two
/// indicators of such handles (xen/suspend_clock.hpp); a simulated guest has neither.
asio::awaitable<unsigned> expect_all_released(async::runtime& runtime,
                                              sim::simulated_toolstack& toolstack,
                                              nlohmann::json& before, std::uint64_t resumes) {
  nlohmann::json now;
  unsigned abandoned = 0;
  const auto released = [&] {
    now = toolstack.own_status();
    const auto ports = now["user_event_channels"].get<unsigned>();
    const auto ports_before = before["user_event_channels"].get<unsigned>();
    abandoned = ports - std::min(ports, ports_before);
    return now["shared_pages"] == before["shared_pages"] && now["watches"] == before["watches"] &&
           abandoned <= 4 * resumes;
  };
  std::string problem;
  try {
    co_await poll_until(runtime, released);
  } catch (const failure& e) {
    problem = e.what();
  }
  EXPECT_EQ(problem, "") << before.dump() << "\n" << now.dump();
  before = now;
  co_return abandoned;
}

asio::awaitable<void> run_seeds(async::runtime& runtime, sim::simulated_toolstack& toolstack) {
  const auto first = number_from("XENPV_RECOVERY_FIRST", 0);
  const auto count = number_from("XENPV_RECOVERY_SEEDS", 60);
  if (std::getenv("XENPV_TEST_LOG") != nullptr) set_up_log("recovery", log_level::debug);
  auto before = toolstack.own_status();
  seed_result all;
  unsigned abandoned = 0;
  for (auto seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    seed_result one;
    const auto resumes = runtime.resumes();
    std::string thrown;
    try {
      co_await run_seed(runtime, toolstack, seed, one);
    } catch (const std::exception& e) {
      thrown = e.what();
    }
    const auto history = history_of(seed, one.story);
    EXPECT_EQ(thrown, "") << history;
    EXPECT_THAT(one.problems, IsEmpty()) << history;
    const auto status = toolstack.status();
    EXPECT_THAT(status["kernel_bugs"], IsEmpty()) << history;
    abandoned +=
        co_await expect_all_released(runtime, toolstack, before, runtime.resumes() - resumes);
    if (::testing::Test::HasFailure()) co_return;
    all.reconnects += one.reconnects;
    all.replayed += one.replayed;
    all.operations += one.operations;
    all.timed_out += one.timed_out;
    all.flushes_failed += one.flushes_failed;
    all.longest = std::max(all.longest, one.longest);
  }
  fmt::print(
      "{} seeds: {} operations, {} reconnects, {} requests replayed, {} timed out, {} flushes "
      "failed, {} resumes, longest pause {} ms, {} ports abandoned\n",
      count, all.operations, all.reconnects, all.replayed, all.timed_out, all.flushes_failed,
      runtime.resumes(), std::chrono::duration_cast<std::chrono::milliseconds>(all.longest).count(),
      abandoned);
  EXPECT_LE(abandoned, 2 + runtime.resumes() / 4);
  EXPECT_GT(all.reconnects, count / 2);
  EXPECT_GT(all.replayed, all.reconnects) << "no request was in flight when the backends were lost";
}

TEST(recovery, loses_no_data_in_any_sequence_of_backend_and_guest_events) {
  if (!has_custodian) GTEST_SKIP() << "needs a custodian";
  sim::simulated_toolstack toolstack;
  with_guarded_runtime([&](async::runtime& runtime) { return run_seeds(runtime, toolstack); });
}

}  // namespace
}  // namespace xenpv::blkfront
