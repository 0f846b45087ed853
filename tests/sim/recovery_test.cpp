// A disk that does not go away: its backend restarts, vanishes, stalls, closes; the guest is saved
// and restored, or the server is killed, at random moments under verified I/O. Runs inside a domain
// of the simulator (tests/sim/CMakeLists.txt).
//
// XENPV_RECOVERY_SEEDS: how many, XENPV_RECOVERY_FIRST: from which on.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/resource.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstdlib>
#include <random>
#include <thread>

#include "sim/recovery_case.hpp"
#include "sim/recovery_load.hpp"
#include "sim/simulated_toolstack.hpp"
#include "xenpv/async/deadline.hpp"
#include "xenpv/async/nursery.hpp"
#include "xenpv/async/run_on.hpp"
#include "xenpv/base/log.hpp"

#ifdef __SANITIZE_ADDRESS__
/// A handle from before a resume is never closed (xen/custodian.hpp): it stays, and is no leak.
extern "C" const char* __lsan_default_suppressions() {  // NOLINT(bugprone-reserved-identifier)
  return "leak:xenpv::xen::event_channel_handle::open\n";
}
#endif

namespace xenpv::blkfront {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr unsigned xvdb = 51728;  // linux, two queues
constexpr unsigned xvdc = 51744;  // linux, one queue, direct requests only
constexpr unsigned xvdd = 51760;  // 4096-byte sectors
constexpr std::uint64_t usual_size = 16U << 20;

unsigned number_from(const char* variable, unsigned otherwise) {
  const auto* const text = std::getenv(variable);
  return text == nullptr ? otherwise : static_cast<unsigned>(std::strtoul(text, nullptr, 10));
}

/// Runs `body` with a runtime that has a custodian, in a program that has no thread yet.
void with_guarded_runtime(std::function<asio::awaitable<void>(async::runtime&)> body) {
  async::runtime on;
  on.run(std::move(body));
}

/// Calls `work` on a thread of its own: it blocks, and the guest must go on.
asio::awaitable<void> aside(async::runtime& on, std::function<void()> work) {
  std::atomic<bool> done = false;
  std::string problem;
  std::thread thread([&] {
    try {
      work();
    } catch (const std::exception& e) {
      problem = e.what();
    }
    done = true;
  });
  while (!done)
    co_await sleep(on, 500us);
  thread.join();
  if (!problem.empty()) ADD_FAILURE() << problem;
}

/// What happens to one disk and its guest in one seed.
class misfortune {
 public:
  misfortune(sim::simulated_toolstack& toolstack, unsigned seed, std::vector<unsigned> disks)
      : toolstack_(toolstack), random_(seed), disks_(std::move(disks)) {}

  void run() {
    const auto events = 1 + pick(3);
    const bool resizes = pick(5) == 0;
    for (unsigned i = 0; i < events; ++i) {
      nap(12'000);
      strike(disks_[pick(static_cast<unsigned>(disks_.size()))], resizes);
    }
    nap(4000);
  }
  [[nodiscard]] const std::string& story() const noexcept { return story_; }
  [[nodiscard]] const std::vector<unsigned>& resized() const noexcept { return resized_; }

 private:
  unsigned pick(unsigned below) { return static_cast<unsigned>(random_() % below); }
  void nap(unsigned most_us) {
    std::this_thread::sleep_for(std::chrono::microseconds(pick(most_us)));
  }

  void strike(unsigned disk, bool resizes) {
    const auto what = pick(resizes ? 7 : 10);
    story_ += fmt::format(" {}:{}", disk, what);
    switch (what) {
      case 0:
      case 1:
        return toolstack_.restart(disk);
      case 2:
        toolstack_.set_faults(disk, fmt::format("vanish={}", 1 + pick(20)));
        nap(8000);
        toolstack_.write(disk, "xenpv/fault", "");
        return toolstack_.restart(disk);
      case 3:
        toolstack_.set_faults(disk, fmt::format("stall={}", pick(20)));
        nap(8000);
        return toolstack_.set_faults(disk, "none");
      case 4:
        toolstack_.remove_backend(disk);
        nap(8000);
        return toolstack_.rebuild_backend(disk);
      case 5:
        return toolstack_.begin_closing(disk);
      case 6:
        if (resizes) return grow(disk);
        toolstack_.restart(disk);
        nap(300);
        return toolstack_.restart(disk);
      case 7:
      case 8:
        return save(disk, false);
      default:
        return save(disk, true);
    }
  }

  /// Often with requests that the backend has and does not answer.
  void save(unsigned disk, bool same_number) {
    if (pick(2) == 0) {
      toolstack_.set_faults(disk, fmt::format("stall={}", pick(10)));
      nap(3000);
    }
    toolstack_.save_restore(same_number, std::chrono::milliseconds(12 + pick(8)));
  }

  /// Only of a disk that is connected: one that comes back larger is refused.
  void grow(unsigned disk) {
    const auto is_connected = [&] {
      return toolstack_.frontend_state(disk) == "4" && toolstack_.read(disk, "state") == "4";
    };
    // Twice: the first may be of before a loss that it has not noticed yet.
    for (unsigned i = 0; i < 5000 && !is_connected(); ++i)
      std::this_thread::sleep_for(1ms);
    std::this_thread::sleep_for(100ms);
    for (unsigned i = 0; i < 5000 && !is_connected(); ++i)
      std::this_thread::sleep_for(1ms);
    toolstack_.resize(disk, usual_size + (1U << 20));
    std::this_thread::sleep_for(300ms);
    resized_.push_back(disk);
  }

  sim::simulated_toolstack& toolstack_;
  std::mt19937 random_;
  std::vector<unsigned> disks_;
  std::vector<unsigned> resized_;
  std::string story_;
};

/// A disk with a worker for every region.
struct loaded_disk {
  std::unique_ptr<frontend> device;
  std::vector<std::unique_ptr<recovery_load>> loads;
};

constexpr unsigned workers = 12;

asio::awaitable<void> work(loaded_disk& disk, std::size_t index,
                           std::vector<std::string>& problems) {
  auto& load = *disk.loads[index];
  auto& queue = disk.device->queue(index % disk.device->queue_count());
  std::string problem;
  auto body = [&]() -> asio::awaitable<void> {
    try {
      co_await load.run();
    } catch (const failure& e) {
      problem = e.what();
    }
  };
  co_await async::run_on(queue.executor(), body);
  if (!problem.empty()) problems.push_back(problem);
}

asio::awaitable<void> verify(loaded_disk& disk, std::vector<std::string>& problems) {
  for (std::size_t i = 0; i < disk.loads.size(); ++i) {
    auto& load = *disk.loads[i];
    auto& queue = disk.device->queue(i % disk.device->queue_count());
    auto body = [&] { return load.verify(); };
    co_await async::run_on(queue.executor(), body);
    problems.insert(problems.end(), load.problems().begin(), load.problems().end());
  }
}

struct seed_result {
  std::vector<std::string> problems;
  std::uint64_t reconnects = 0;
  std::uint64_t replayed = 0;
  std::uint64_t operations = 0;
  std::chrono::nanoseconds longest{};
};

asio::awaitable<void> run_seed(async::runtime& on, sim::simulated_toolstack& toolstack,
                               unsigned seed, seed_result& out) {
  std::vector<unsigned> disks = {xvdb, xvdc, xvdd};
  if (seed % 3 != 0) disks = {disks[seed % 2 == 0 ? 0 : 1 + seed % 2]};
  misfortune fate(toolstack, seed, disks);
  std::vector<loaded_disk> loaded;
  for (const auto disk : disks) {
    options how;
    how.pages = 160;
    if (disk == xvdc) how.segments = 11;
    auto& fresh = loaded.emplace_back();
    fresh.device = co_await frontend::open(on, path_of(disk), how);
    for (unsigned i = 0; i < workers; ++i) {
      auto& queue = fresh.device->queue(i % fresh.device->queue_count());
      fresh.loads.push_back(std::make_unique<recovery_load>(queue, i, seed * 1000 + disk + i));
    }
  }
  async::nursery working(on.control());
  for (auto& disk : loaded)
    for (unsigned i = 0; i < workers; ++i)
      working.spawn(work(disk, i, out.problems));
  auto be_struck = [&] { fate.run(); };
  co_await aside(on, be_struck);
  for (auto& disk : loaded)
    for (unsigned i = 0; i < workers; ++i) {
      auto stop = [&] { disk.loads[i]->stop(); };
      co_await async::call_on(disk.device->queue(i % disk.device->queue_count()).executor(), stop);
    }
  auto joined = working.join();
  co_await async::with_deadline(std::move(joined), patience, "wait for the workers" + fate.story());
  for (auto& disk : loaded) {
    co_await verify(disk, out.problems);
    out.reconnects += disk.device->recovery().reconnects;
    out.replayed += disk.device->recovery().replayed;
    out.longest = std::max(out.longest, disk.device->recovery().longest_pause);
    for (const auto& load : disk.loads)
      out.operations += load->operations();
    co_await disk.device->close();
  }
  for (const auto disk : fate.resized())
    toolstack.resize(disk, usual_size);
  for (auto& problem : out.problems)
    problem += " [" + fate.story() + "]";
}

/// A disk that nobody has: ports, pages and watches are as they were. Returns the ports that are
/// not: one that was bound between a resume and its discovery belongs to a handle that nobody may
/// touch any more. Linux' clocks tell which those are (xen/suspend_clock.hpp), a simulated guest's
/// do not.
asio::awaitable<unsigned> expect_all_given_back(async::runtime& on,
                                                sim::simulated_toolstack& toolstack,
                                                nlohmann::json& before, std::uint64_t resumes) {
  nlohmann::json now;
  unsigned abandoned = 0;
  const auto given_back = [&] {
    now = toolstack.own_status();
    const auto ports = now["user_event_channels"].get<unsigned>();
    const auto ports_before = before["user_event_channels"].get<unsigned>();
    abandoned = ports - std::min(ports, ports_before);
    return now["shared_pages"] == before["shared_pages"] && now["watches"] == before["watches"] &&
           abandoned <= 4 * resumes;
  };
  std::string problem;
  try {
    co_await poll_until(on, given_back);
  } catch (const failure& e) {
    problem = e.what();
  }
  EXPECT_EQ(problem, "") << before.dump() << "\n" << now.dump();
  before = now;
  co_return abandoned;
}

asio::awaitable<void> run_seeds(async::runtime& on, sim::simulated_toolstack& toolstack) {
  const auto first = number_from("XENPV_RECOVERY_FIRST", 0);
  const auto count = number_from("XENPV_RECOVERY_SEEDS", 60);
  if (std::getenv("XENPV_TEST_LOG") != nullptr) log().set_level(spdlog::level::debug);
  auto before = toolstack.own_status();
  seed_result all;
  unsigned abandoned = 0;
  for (auto seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    seed_result one;
    const auto resumes = on.resumes();
    std::string thrown;
    try {
      co_await run_seed(on, toolstack, seed, one);
    } catch (const std::exception& e) {
      thrown = e.what();
    }
    EXPECT_EQ(thrown, "") << "seed " << seed;
    EXPECT_THAT(one.problems, IsEmpty()) << "seed " << seed;
    const auto status = toolstack.status();
    EXPECT_THAT(status["kernel_bugs"], IsEmpty()) << "seed " << seed;
    abandoned += co_await expect_all_given_back(on, toolstack, before, on.resumes() - resumes);
    if (::testing::Test::HasFailure()) co_return;
    all.reconnects += one.reconnects;
    all.replayed += one.replayed;
    all.operations += one.operations;
    all.longest = std::max(all.longest, one.longest);
  }
  fmt::print(
      "{} seeds: {} operations, {} reconnects, {} requests replayed, {} resumes, longest pause {} "
      "ms, {} ports abandoned\n",
      count, all.operations, all.reconnects, all.replayed, on.resumes(),
      std::chrono::duration_cast<std::chrono::milliseconds>(all.longest).count(), abandoned);
  EXPECT_LE(abandoned, 2 + on.resumes() / 4);
  EXPECT_GT(all.reconnects, count / 2);
  EXPECT_GT(all.replayed, all.reconnects) << "or nothing was in flight when the backends were lost";
}

TEST(recovery, loses_nothing_whatever_happens_to_the_backend_and_the_guest) {
  if (!has_custodian) GTEST_SKIP() << "needs a custodian";
  sim::simulated_toolstack toolstack;
  with_guarded_runtime([&](async::runtime& on) { return run_seeds(on, toolstack); });
}

}  // namespace
}  // namespace xenpv::blkfront
